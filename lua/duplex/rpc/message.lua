-- SPDX-License-Identifier: MIT
-- The objects of JSON-RPC 2.0 as tables: what one that came is, and those to
-- send. Numbers in comments are the sections of the specification
-- (https://www.jsonrpc.org/specification).

local message = {}

local kind_of = rawget(math, "type") -- Lua 5.3 and later: "integer" or "float"

local VERSION = "2.0"
local EXACT = 2 ^ 53 -- floating point numbers from this on may have lost digits

-- 5.1 Error object
local TEXTS = {
  [-32700] = "Parse error",
  [-32600] = "Invalid Request",
  [-32601] = "Method not found",
  [-32602] = "Invalid params",
  [-32603] = "Internal error",
}

---@class duplex.RpcError
---@field code integer
---@field message string
---@field data any
local Failure = {}
Failure.__index = Failure
Failure.__name = "duplex.RpcError"
function Failure.__tostring(e) return ("RPC: %s (%d)"):format(e.message, e.code) end

local function is_integer(value)
  return type(value) == "number" and value % 1 == 0 and value < EXACT and value > -EXACT
end

--- An error object, for a method to return or to raise.
---@param code integer -32602 and the like (5.1), or a number of your own
---@param text? string default: what the specification says for the code
---@param data? any more about it, for the peer
---@param level? integer whom to blame for bad arguments, default 2
---@return duplex.RpcError
function message.failure(code, text, data, level)
  level = (level or 2) + 1
  if not is_integer(code) then error("rpc.error: the code must be an integer, got " .. tostring(code), level) end
  text = text == nil and TEXTS[code] or text
  if type(text) ~= "string" then
    error("rpc.error: the message must be a string, got " .. type(text), level)
  end
  return setmetatable({ code = math.floor(code), message = text, data = data }, Failure)
end

--- Whether a value was made by message.failure.
function message.is_failure(value) return type(value) == "table" and getmetatable(value) == Failure end

-- 4 and 5: a string, a number or null. A number that would come back as
-- another could not be matched by who waits for it.
local function id_fine(id, null)
  if id == null or type(id) == "string" then return true end
  if type(id) ~= "number" or id == math.huge or id == -math.huge then return false end
  if kind_of and kind_of(id) == "integer" then return true end
  if id % 1 == 0 then return is_integer(id) end
  return tonumber(("%.14g"):format(id)) == id
end

--- What a value that came is.
---@param value any
---@param null any
---@return { kind: "call"|"notification"|"answer"|"invalid", id: any, method: string?, params: table?, problem: string? }
function message.read(value, null)
  if type(value) ~= "table" or value[1] ~= nil then
    return { kind = "invalid", id = null, problem = "no object" }
  end
  -- 4 a call has a method, 5 an answer a result or an error. What looks like
  -- an answer is never answered: two peers would go on for ever.
  local method, params, id = value.method, value.params, value.id
  if method == nil and (value.result ~= nil or value.error ~= nil) then
    return { kind = "answer", id = id, value = value }
  end
  local problem = value.jsonrpc ~= VERSION and "jsonrpc is not \"2.0\""
    or type(method) ~= "string" and "the method is not a string"
    or params ~= nil and params ~= null and type(params) ~= "table" and "params are no array and no object"
  if id ~= nil and not id_fine(id, null) then problem, id = problem or "the id is not usable", nil end
  if problem then
    if id == nil then id = null end
    return { kind = "invalid", id = id, problem = problem }
  end
  if params == null then params = nil end -- what some send for nothing
  return { kind = id == nil and "notification" or "call", id = id, method = method, params = params or {} }
end

--- The result of an answer, or its error.
---@param value table
---@param null any
---@return any result, duplex.RpcError? failure
function message.outcome(value, null)
  local result, failure = value.result, value.error
  if failure == null then failure = nil end
  if value.jsonrpc ~= VERSION or (result == nil) == (failure == nil) and result ~= null then
    return nil, message.failure(-32603, "the answer is not valid JSON-RPC 2.0")
  end
  if failure == nil then return result end
  if type(failure) ~= "table" or not is_integer(failure.code) or type(failure.message) ~= "string" then
    return nil, message.failure(-32603, "the error of the answer is not valid JSON-RPC 2.0")
  end
  return nil, message.failure(failure.code, failure.message, failure.data)
end

--- 4 A call, or without an id a notification.
function message.call(method, params, id)
  return { jsonrpc = VERSION, method = method, params = params, id = id }
end

--- 5 The answer to a call.
function message.result(id, result) return { jsonrpc = VERSION, result = result, id = id } end

--- 5 The same, of a call that failed.
---@param failure duplex.RpcError
function message.error(id, failure)
  return { jsonrpc = VERSION, id = id,
    error = { code = failure.code, message = failure.message, data = failure.data } }
end

return message
