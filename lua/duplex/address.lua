-- SPDX-License-Identifier: MIT
-- IP addresses as bytes, to compare them and to send them.

local address = {}

local MAPPED = ("\0"):rep(10) .. "\255\255" -- ::ffff:0:0/96, RFC 4291 2.5.5.2
local LOOPBACK = ("\0"):rep(15) .. "\1"

local function ipv4(text)
  local bytes = ""
  for number in (text .. "."):gmatch("([^.]*)%.") do
    -- A leading zero means octal to some resolvers and nothing to others.
    if not number:find("^%d%d?%d?$") or number:find("^0%d") then return nil end
    if tonumber(number) > 255 then return nil end
    bytes = bytes .. string.char(tonumber(number))
  end
  return #bytes == 4 and bytes or nil
end

-- The bytes of groups, "" for no groups.
local function groups(text)
  local bytes = ""
  for group in (text == "" and "" or text .. ":"):gmatch("([^:]*):") do
    if not group:find("^%x%x?%x?%x?$") then return nil end
    local number = tonumber(group, 16)
    bytes = bytes .. string.char(math.floor(number / 256), number % 256)
  end
  return bytes
end

local function ipv6(text) -- RFC 4291 2.2
  local start, dotted = text:match("^(.*:)([%d.]+%.[%d.]+)$")
  if start then
    local last = ipv4(dotted)
    if not last then return nil end
    local a, b, c, d = last:byte(1, 4)
    text = ("%s%x:%x"):format(start, a * 256 + b, c * 256 + d)
  end
  local left, right = text:match("^(.-)::(.*)$")
  local head, tail = groups(left or text), groups(right or "")
  if not head or not tail then return nil end
  local gap = 16 - #head - #tail
  if left and gap < 2 or not left and gap ~= 0 then return nil end
  return head .. ("\0"):rep(gap) .. tail
end

--- The bytes of a numeric address, without brackets; those of an IPv4 address
--- that is written as IPv6 are the four.
---@param text string
---@return string|nil bytes 4 or 16; nil when it is a name or malformed
function address.bytes(text)
  if not text:find(":", 1, true) then return ipv4(text) end
  local bytes = ipv6(text)
  if bytes and bytes:sub(1, 12) == MAPPED then return bytes:sub(13) end
  return bytes
end

--- Do the first bits of two addresses agree?
---@param a string bytes
---@param b string bytes
---@param bits integer
---@return boolean
function address.same(a, b, bits)
  if #a ~= #b or bits > #a * 8 then return false end
  local whole, rest = math.floor(bits / 8), bits % 8
  if a:sub(1, whole) ~= b:sub(1, whole) then return false end
  local unit = 2 ^ (8 - rest)
  return rest == 0 or math.floor(a:byte(whole + 1) / unit)
    == math.floor(b:byte(whole + 1) / unit)
end

--- Is it an address or a name of this machine (RFC 6761 6.3)?
---@param host string in lower case
---@return boolean
function address.is_loopback(host)
  local bytes = address.bytes(host)
  if bytes then return bytes == LOOPBACK or #bytes == 4 and bytes:byte() == 127 end
  return ("." .. host:gsub("%.$", "")):find(".localhost", -10, true) ~= nil
end

return address
