-- SPDX-License-Identifier: MIT
-- Names of topics, and which patterns match one. A topic is words with dots
-- between them; in a pattern "*" stands for one word, and ">" at the end for
-- one or more. Patterns are kept in a trie of words, so that finding those that
-- match costs what the topic has of words, not what there is of patterns.

local sparse = require "duplex.hub.sparse"

local topics = {}

local MAX_WORDS = 16

--- What is wrong with a name; a peer chooses it.
---@param name any
---@param max integer bytes
---@param wild boolean whether it may be a pattern
---@return string|nil problem
---@return boolean|nil is_pattern
function topics.problem(name, max, wild)
  if type(name) ~= "string" then return "a topic must be a text, got " .. type(name) end
  if #name > max then return ("a topic has at most %d bytes, got %d"):format(max, #name) end
  if name:find("[%c ]") then return "a topic must not have spaces or control characters" end
  local words, last, is_pattern = 0, nil, false
  for word in (name .. "."):gmatch("([^.]*)%.") do
    words = words + 1
    if word == "" then return "a topic must not have empty words" end
    if last == ">" then return "'>' must be the last word" end
    if word:find("[*>]") then
      if not wild then return "a topic to publish to must not have '*' or '>'" end
      if #word > 1 then return "'*' and '>' must be words of their own" end
      is_pattern = true
    end
    last = word
  end
  if words > MAX_WORDS then return ("a topic has at most %d words, got %d"):format(MAX_WORDS, words) end
  return nil, is_pattern
end

---@class duplex.hub.Trie
---@field count integer patterns in it
local methods = {}
local metatable = { __index = methods }

--- An empty trie. A value is kept for each pattern.
---@return duplex.hub.Trie
function topics.trie()
  return setmetatable({ root = { children = {} }, count = 0, most = 0, values = {} }, metatable)
end

--- The value of a pattern, nil when it has none.
---@param pattern string
---@return any
function methods:get(pattern) return self.values[pattern] end

--- Gives a pattern, which is a good one and has no value yet, a value.
---@param pattern string
---@param value any
function methods:add(pattern, value)
  local node = self.root
  for word in pattern:gmatch("[^.]+") do
    local child = node.children[word]
    if not child then
      child = { children = {}, parent = node, word = word }
      node.children[word] = child
    end
    node = child
  end
  node.value, self.values[pattern] = value, value
  self.count = self.count + 1
  self.most = math.max(self.most, self.count)
end

local function copy_children(node)
  node.children = sparse.copy(node.children)
  for _, child in pairs(node.children) do copy_children(child) end
end

--- Takes a pattern out, and what of the trie was there for it alone.
---@param pattern string
function methods:remove(pattern)
  local node = self.root
  for word in pattern:gmatch("[^.]+") do node = node.children[word] end
  node.value, self.values[pattern] = nil, nil
  self.count = self.count - 1
  while node.parent and node.value == nil and next(node.children) == nil do
    node.parent.children[node.word] = nil
    node = node.parent
  end
  if sparse.is(self.most, self.count) then
    copy_children(self.root)
    self.values, self.most = sparse.copy(self.values), self.count
  end
end

local function collect(node, words, i, list)
  local children = node.children
  local rest = words[i] and children[">"]
  if rest then list[#list + 1] = rest.value end
  if not words[i] then
    list[#list + 1] = node.value
    return
  end
  local exact, any = children[words[i]], children["*"]
  if exact then collect(exact, words, i + 1, list) end
  if any then collect(any, words, i + 1, list) end
end

--- The values of all patterns that match a topic.
---@param topic string
---@return any[] values in no particular order
function methods:match(topic)
  local words, list = {}, {}
  for word in topic:gmatch("[^.]+") do words[#words + 1] = word end
  collect(self.root, words, 1, list)
  return list
end

return topics
