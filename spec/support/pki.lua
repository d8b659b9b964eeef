-- SPDX-License-Identifier: MIT
-- Certificate authorities and certificates for specs, made by the 'openssl'
-- command when they are first asked for, once a process and however many spec
-- files ask. The folder is removed when the process ends, however it ends.
--
--   local pki = require "spec.support.pki"
--   local pair = pki.certificate()              -- for localhost
--   duplex.serve({ tls = { certificate = pair.certificate, key = pair.key } }, ...)
--   duplex.connect(server.url, { tls = { ca = pki.ca } })
--
--   pki.ca              path of the root that specs trust, CN "Duplex Spec Root"
--   pki.other_ca        path of a root that they do not, CN "Duplex Other Root"
--   pki.intermediate    path of the certificate below the first root
--   pki.folder          folder of all this; for files of a spec's own too
--   pki.certificate(o)  -> { certificate = path, key = path }; o, all optional:
--     name              common name, default "localhost"
--     names             list of DNS names, default { name }; may have wildcards
--     addresses         list of IP addresses; default 127.0.0.1 and ::1, but
--                       none when name or names are given
--     san               subjectAltName as OpenSSL's configuration has it
--     client            for a client; no names or addresses unless given
--     expired, future   in 2020 only, in 2090 only
--     self_signed       by its own key
--     other_ca          by the root that is not trusted
--     chain             by the intermediate, which follows in the file
--     incomplete        by the intermediate, which is missing from the file
--     rsa               RSA of 2048 bits instead of EC P-256
--     passphrase        that encrypts the key
--     serial            any number: another certificate of the same contents
--   pki.directory()     a directory of hashed certificates with pki.ca in it
--   pki.ocsp(pair)      path of the OCSP response "good" for a certificate of the root
--   pki.fingerprint(pair)  64 lower-case hex digits of SHA-256
--   pki.read(path)      contents of a file
--   pki.write(name, text)  a new file in the folder -> its path
--   pki.path(ending)    a path in the folder that was never given before

local pki = {}

local CONFIG = [[
[req]
distinguished_name = name
prompt = no
[name]
CN = Duplex Spec
[ca]
default_ca = issuer
[issuer]
database = $ENV::PKI/index.txt
new_certs_dir = $ENV::PKI/new
rand_serial = yes
unique_subject = no
default_md = sha256
default_days = 30
policy = policy
[policy]
commonName = supplied
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign,digitalSignature
subjectKeyIdentifier = hash
]]
local LEAF = [[
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
]]

-- Busted loads this file again for each spec file; the registry stays.
local KEY = "duplex.spec.pki"
local state = debug.getregistry()[KEY]

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

-- Runs a script in the folder; nobody else may read what it makes.
local function shell(script)
  local pipe = io.popen(("exec 2>&1; set -e; umask 077; cd '%s'; export PKI='%s'\n%s\necho done")
    :format(state.folder, state.folder, script))
  local output = pipe:read("*a")
  pipe:close()
  if not output:find("done\n$") then error("openssl failed:\n" .. script .. "\n" .. output, 2) end
  return output:sub(1, -6)
end

-- A key and a certificate, signed by 'issuer': the name of another, or nil.
local function make(file, o)
  local algorithm = o.rsa and "rsa:2048" or "ec -pkeyopt ec_paramgen_curve:P-256"
  local dates = o.expired and "-startdate 20200101000000Z -enddate 20210101000000Z"
    or o.future and "-startdate 20900101000000Z -enddate 20910101000000Z" or ""
  shell(([[
    openssl req -config %s -new -newkey %s %s -keyout %s.key -out %s.csr -subj '/CN=%s'
    openssl ca -config %s -batch -notext -extensions %s %s %s -in %s.csr -out %s.pem
    rm %s.csr]]):format(
    o.config, algorithm, o.passphrase and "-passout pass:" .. o.passphrase or "-nodes", file, file, o.name,
    o.config, o.section, dates, o.issuer and ("-cert %s.pem -keyfile %s.key"):format(o.issuer, o.issuer)
      or ("-selfsign -keyfile %s.key %s"):format(file, o.passphrase and "-passin pass:" .. o.passphrase or ""),
    file, file, file))
  return { certificate = state.folder .. "/" .. file .. ".pem", key = state.folder .. "/" .. file .. ".key" }
end

local function setup()
  local pipe = assert(io.popen("umask 077; mktemp -d"))
  local folder = pipe:read("*l")
  pipe:close()
  -- The pipe ends with this process, even when that is killed; a session of its
  -- own, where there are such, keeps who reads it from being killed as well.
  state = { folder = folder, pairs = {}, count = 0, watch = io.popen(
    ([[exec $(command -v setsid) sh -c 'cat >/dev/null; rm -rf "%s"']]):format(folder), "w") }
  debug.getregistry()[KEY] = state
  write(folder .. "/ca.cnf", CONFIG)
  shell("mkdir new; touch index.txt; echo 'unique_subject = no' >index.txt.attr")
  local function authority(file, name, issuer)
    return make(file, { name = name, issuer = issuer, section = "authority", config = "ca.cnf" })
  end
  authority("root", "Duplex Spec Root")
  authority("other", "Duplex Other Root")
  authority("intermediate", "Duplex Spec Intermediate", "root")
end

if not state then setup() end

pki.folder = state.folder
pki.ca = state.folder .. "/root.pem"
pki.other_ca = state.folder .. "/other.pem"
pki.intermediate = state.folder .. "/intermediate.pem"
pki.read = read

function pki.write(name, text) return write(state.folder .. "/" .. name, text) end

function pki.path(ending)
  state.count = state.count + 1
  return ("%s/%d%s"):format(state.folder, state.count, ending)
end

-- The same for the same options, in whatever order they were written.
local function identity(o)
  local list = {}
  for name, value in pairs(o) do
    list[#list + 1] = name .. "=" .. (type(value) == "table" and table.concat(value, ",") or tostring(value))
  end
  table.sort(list)
  return table.concat(list, ";")
end

-- subjectAltName, or nothing.
local function alternatives(o, name)
  if o.san then return "subjectAltName = " .. o.san .. "\n" end
  local default = not (o.name or o.names or o.client)
  local names = o.names or not o.client and { name } or {}
  local addresses, list = o.addresses or default and { "127.0.0.1", "::1" } or {}, {}
  for _, dns in ipairs(names) do list[#list + 1] = "DNS:" .. dns end
  for _, address in ipairs(addresses) do list[#list + 1] = "IP:" .. address end
  return list[1] and "subjectAltName = " .. table.concat(list, ",") .. "\n" or ""
end

function pki.certificate(o)
  o = o or {}
  local id = identity(o)
  if state.pairs[id] then return state.pairs[id] end
  state.count = state.count + 1
  local file, name = "leaf" .. state.count, o.name or "localhost"
  local below = o.chain or o.incomplete
  pki.write(file .. ".cnf", CONFIG .. LEAF .. alternatives(o, name)
    .. "extendedKeyUsage = " .. (o.client and "clientAuth" or "serverAuth") .. "\n")
  local pair = make(file, {
    name = name, section = "leaf", config = file .. ".cnf", rsa = o.rsa, passphrase = o.passphrase,
    expired = o.expired, future = o.future,
    issuer = not o.self_signed and (o.other_ca and "other" or below and "intermediate" or "root") or nil,
  })
  if o.chain then write(pair.certificate, read(pair.certificate) .. read(pki.intermediate)) end
  state.pairs[id] = pair
  return pair
end

function pki.directory()
  shell("[ -d hashed ] || { mkdir hashed; cp root.pem hashed/$(openssl x509 -noout -hash -in root.pem).0; }")
  return state.folder .. "/hashed"
end

function pki.ocsp(pair)
  local response = pair.certificate .. ".ocsp"
  shell(([[
    [ -e %s ] && { echo done; exit; }
    openssl ocsp -no_nonce -issuer root.pem -cert %s -reqout request.der
    openssl ocsp -index index.txt -CA root.pem -rsigner root.pem -rkey root.key -ndays 1 -reqin request.der -respout %s]])
    :format(response, pair.certificate, response))
  return response
end

function pki.fingerprint(pair)
  local text = shell("openssl x509 -noout -fingerprint -sha256 -in " .. pair.certificate)
  return (text:match("=([%x:]+)"):gsub(":", ""):lower())
end

return pki
