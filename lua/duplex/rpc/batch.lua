-- SPDX-License-Identifier: MIT
-- Calls of ours that go out in one message.

local batch = {}

--- A class of batches.
---@param start fun(peer: duplex.RpcPeer, entries: table[], timeout: number?): table[]|nil, string?, string?
---@param check fun(method: any, params: any, level: integer)
---@return table class
function batch.class(start, check)
  ---@class duplex.RpcBatch
  local methods = {}

  local function add(self, method, params, wants_answer)
    if self.sent then error("this batch was sent already", 3) end
    check(method, params, 4)
    local entry = { method = method, params = params, wants_answer = wants_answer }
    self.entries[#self.entries + 1] = entry
    return entry
  end

  --- Adds a call.
  ---@param method string
  ---@param params? table
  ---@return table entry after send: { result }, or { message, id, error }
  function methods:call(method, params)
    local entry = add(self, method, params, true)
    return entry
  end

  --- Adds a notification.
  ---@param method string
  ---@param params? table
  function methods:notify(method, params) add(self, method, params, false) end

  --- Sends all of it, and waits for the answers.
  ---@param timeout? number seconds; default: the option, false = no limit
  ---@return table[]|nil results those that call() returned, in their order:
  ---  { result }, or { message, id, error } of a call that failed
  ---@return string? message, string? id nothing was sent: those of peer:call
  function methods:send(timeout)
    if self.sent then error("this batch was sent already", 2) end
    if #self.entries == 0 then error("the batch is empty", 2) end
    self.sent = true
    local list, message, id = start(self.peer, self.entries, timeout)
    return list, message, id
  end

  return { __index = methods, __name = "duplex.RpcBatch" }
end

return batch
