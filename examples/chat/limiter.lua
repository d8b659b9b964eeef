-- How often somebody may do something: a bucket of tokens that refills at a
-- steady rate. Time is an argument, so this needs no clock.

local limiter = {}

--- A bucket, full at first.
---@param rate number tokens a second
---@param burst number tokens that it holds
---@return table bucket
function limiter.new(rate, burst)
  return { rate = rate, burst = burst, tokens = burst, at = nil }
end

--- Takes a token.
---@param bucket table
---@param now number seconds
---@return boolean taken false when there is none
function limiter.take(bucket, now)
  local passed = now - (bucket.at or now)
  bucket.at = now
  bucket.tokens = math.min(bucket.burst, bucket.tokens + passed * bucket.rate)
  if bucket.tokens < 1 then return false end
  bucket.tokens = bucket.tokens - 1
  return true
end

return limiter
