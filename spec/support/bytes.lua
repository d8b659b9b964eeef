-- SPDX-License-Identifier: MIT
-- Bytes and WebSocket frames for specs. This is not the code under test: it
-- is written from RFC 6455 5.2 alone, for both directions, and checks nothing.

local bytes = {}

-- Exclusive or of two bytes: an operator from Lua 5.3 on, a library in LuaJIT,
-- and in Lua 5.1 digit by digit.
local function slow_xor(a, b)
  local result, digit = 0, 1
  while a > 0 or b > 0 do
    if a % 2 ~= b % 2 then result = result + digit end
    a, b, digit = math.floor(a / 2), math.floor(b / 2), digit * 2
  end
  return result
end
local known = setmetatable({}, { __index = function(rows, a)
  local row = {}
  for b = 0, 255 do row[b] = slow_xor(a, b) end
  rows[a] = row
  return row
end })
local function known_xor(a, b) return known[a][b] end
local xor = (loadstring or load)("return function(a, b) return a ~ b end")
local has_bit, bit = pcall(require, "bit")
xor = xor and xor() or has_bit and bit.bxor or known_xor

--- Bytes from hexadecimal digits; spaces are for the reader.
function bytes.hex(text)
  return (text:gsub("%s", ""):gsub("%x%x", function(two)
    return string.char(tonumber(two, 16))
  end))
end

--- Hexadecimal digits, for messages of failed assertions.
function bytes.to_hex(data)
  return (data:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

--- RFC 6455 5.3. Long data that repeats itself every 'unit' bytes (a multiple
--- of 4) is masked once and repeated.
function bytes.mask(data, key, unit)
  if key == "\0\0\0\0" then return data end
  if unit and #data > unit then
    local one = bytes.mask(data:sub(1, unit), key)
    return one:rep(math.floor(#data / unit)) .. one:sub(1, #data % unit)
  end
  local out, k = {}, { key:byte(1, 4) }
  for i = 1, #data do
    out[i] = string.char(xor(data:byte(i), k[(i - 1) % 4 + 1]))
  end
  return table.concat(out)
end

local function big_endian(n, size)
  local out = {}
  for i = size, 1, -1 do
    out[i] = string.char(n % 256)
    n = math.floor(n / 256)
  end
  return table.concat(out)
end

--- A header: first byte, length, and masking key or nil.
function bytes.head(first, length, key)
  local mark = key and 128 or 0
  local size
  if length < 126 then
    size = string.char(mark + length)
  elseif length < 65536 then
    size = string.char(mark + 126) .. big_endian(length, 2)
  else
    size = string.char(mark + 127) .. big_endian(length, 8)
  end
  return string.char(first) .. size .. (key or "")
end

--- A whole frame.
function bytes.frame(first, payload, key, unit)
  payload = payload or ""
  return bytes.head(first, #payload, key)
    .. (key and bytes.mask(payload, key, unit) or payload)
end

--- Two bytes of a close code, and its reason.
function bytes.close(code, reason) return big_endian(code, 2) .. (reason or "") end

--- Reads one frame with read(n) -> n bytes | nil, problem.
--- -> first byte, payload, key or nil | nil, problem
function bytes.read_frame(read)
  local two, problem = read(2)
  if not two then return nil, problem end
  local first, length = two:byte(1, 2)
  local masked = length >= 128
  length = length % 128
  local more = length == 126 and 2 or length == 127 and 8 or 0
  local rest = more > 0 and read(more)
  if rest then
    length = 0
    for i = 1, more do length = length * 256 + rest:byte(i) end
  end
  local key = masked and read(4) or nil
  local payload = ""
  if length > 0 then
    payload, problem = read(length)
    if not payload then return nil, problem end
  end
  return first, payload, key
end

--- A string in pieces of random sizes, at most 'most'; random(n) is in 1..n.
function bytes.cut(random, data, most)
  local pieces, at = {}, 1
  while at <= #data do
    local size = random(most)
    pieces[#pieces + 1] = data:sub(at, at + size - 1)
    at = at + size
  end
  return pieces
end

--- All frames of a string, unmasked: { { first, payload }, ... }
function bytes.frames(data)
  local at, list = 1, {}
  local function read(n)
    local part = data:sub(at, at + n - 1)
    at = at + n
    return #part == n and part or nil, "cut"
  end
  while at <= #data do
    local first, payload, key = bytes.read_frame(read)
    if not first then
      list[#list + 1] = { "cut" }
      break
    end
    list[#list + 1] = { first, key and bytes.mask(payload, key) or payload }
  end
  return list
end

return bytes
