-- SPDX-License-Identifier: MIT
-- The counterparts are tried without TLS, with it, and with clients that show a
-- certificate as well: what each end is told.

local pki = require "spec.support.pki"

local pair = pki.certificate()
local alice = pki.certificate { client = true, name = "alice" }
local own = { "tls.certificate=" .. pair.certificate, "tls.key=" .. pair.key }

---@return table[] { name, tls = option of our client; arguments of the programs
--- in peers/: serve = of our server, peer = of their server, trust = of their
--- client, after the URL }
return {
  { name = "ws", serve = {}, peer = {}, trust = {} },
  {
    name = "wss", tls = { ca = pki.ca },
    serve = own,
    peer = { pair.certificate, pair.key },
    trust = { pki.ca },
  },
  {
    name = "wss with certificates of both", tls = { ca = pki.ca, certificate = alice.certificate, key = alice.key },
    serve = { own[1], own[2], "tls.ca=" .. pki.ca, "tls.client_certificates=required" },
    peer = { pair.certificate, pair.key, pki.ca },
    trust = { pki.ca, alice.certificate, alice.key },
  },
}
