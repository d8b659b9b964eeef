-- SPDX-License-Identifier: MIT
-- Random numbers for delays. They need not be secret, but two clients must not
-- have the same ones, also when their processes were started in the same second,
-- or forked. math.random is the program's: nothing is taken from it, and before
-- 5.4 it begins with the same numbers in each process.

local random = {}

local MODULUS, FACTOR = 2147483647, 48271 -- of Park and Miller; fits a double

--- A generator of numbers evenly spread over [0, 1).
---@param seed integer any
---@return fun(): number
function random.generator(seed)
  local state = seed % (MODULUS - 1) + 1
  local function draw()
    state = state * FACTOR % MODULUS
    return (state - 1) / (MODULUS - 1)
  end
  -- Seeds close to each other begin with numbers close to each other.
  for _ = 1, 8 do draw() end
  return draw
end

-- Where there is no such file, what differs from process to process: where its
-- memory is, and when this was called.
local function poor_seed()
  local seed = os.time() % MODULUS
  for c in (tostring({}) .. tostring(os.clock())):gmatch(".") do
    seed = (seed * 31 + c:byte()) % MODULUS
  end
  return seed
end

--- A seed that no other client has.
---@return integer
function random.seed()
  local file = io.open("/dev/urandom", "rb")
  local bytes
  if file then
    file:setvbuf("no") -- a whole buffer would be read otherwise
    bytes = file:read(4)
    file:close()
  end
  if not bytes or #bytes < 4 then return poor_seed() end
  local a, b, c, d = bytes:byte(1, 4)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

return random
