-- Rooms, names and history of a chat. Members are whatever the caller uses as
-- keys: here is no socket and no clock, so all of it can be tried in a spec.

local rooms = {}

local HISTORY = 50 -- messages
local MAX_NAME = 24 -- characters, as are the next two
local MAX_ROOM = 32
local MAX_TEXT = 2000

-- One character of UTF-8: a byte that begins one, and those that follow it.
local CHARACTER = "[^\128-\191][\128-\191]*"

local function count_characters(text)
  local _, count = text:gsub(CHARACTER, "")
  return count
end

local function first_characters(text, count)
  local kept = {}
  for character in text:gmatch(CHARACTER) do
    if #kept == count then break end
    kept[#kept + 1] = character
  end
  return table.concat(kept)
end

-- Characters that show nothing, or turn around what follows them: two names
-- must not look the same, and no name may rearrange the page.
local HIDDEN = {
  "[%z\1-\31\127]", -- C0
  "\194[\128-\159]", "\194\173", -- C1, soft hyphen
  "\216\156", -- U+061C: Arabic letter mark
  "\226\128[\139\142\143\168-\174]", -- U+200B, U+200E/F, U+2028..202E
  "\226\129[\160-\175]", -- U+2060..206F: word joiner, isolates
  "\239\187\191", -- U+FEFF
}
-- Spaces other than the usual one.
local SPACES = { "[\t\n\r]", "\194\160", "\226\128[\128-\138\175]", "\227\128\128" }

-- One line without hidden characters or spaces at its ends.
local function one_line(text)
  for _, pattern in ipairs(SPACES) do text = text:gsub(pattern, " ") end
  for _, pattern in ipairs(HIDDEN) do text = text:gsub(pattern, "") end
  return (text:gsub(" +", " "):match("^ ?(.-) ?$"))
end

-- Lines as they are, but for other control characters and empty ends.
local function lines(text)
  text = text:gsub("\r\n?", "\n"):gsub("[%z\1-\8\11-\31\127]", "")
  return (text:gsub("^[ \t\n]*\n", ""):match("^(.-)[ \t\n]*$"))
end

-- The text cleaned by 'clean', or nil and what is wrong.
local function read(what, value, clean, max)
  if type(value) ~= "string" then return nil, what .. " must be a text" end
  local text = clean(value)
  if text == "" then return nil, what .. " is empty" end
  local count = count_characters(text)
  if count > max then
    return nil, ("%s has %d characters, %d are allowed"):format(what, count, max)
  end
  return text
end

---@class chat.Room
---@field name string
---@field members table<any, string> names by member
---@field history chat.Message[] oldest first

---@class chat.Message
---@field id string unique
---@field name string who said it
---@field text string
---@field time integer seconds since 1970

local methods = {}
local metatable = { __index = methods }

--- All rooms of a server; there are none at first.
---@param prefix? string begins the ids of messages; of a restarted server
--- it must be another one
---@return table
function rooms.new(prefix)
  return setmetatable({ prefix = prefix or "", count = 0, by_name = {}, by_member = {} },
    metatable)
end

local function is_taken(room, name, member)
  for other, other_name in pairs(room.members) do
    if other ~= member and other_name:lower() == name:lower() then return true end
  end
  return false
end

-- The name, or "name 2", "name 3" ... of which nobody else has the first.
local function free_name(room, name, member)
  local candidate, number = name, 1
  while is_taken(room, candidate, member) do
    number = number + 1
    local suffix = " " .. number
    candidate = first_characters(name, MAX_NAME - #suffix) .. suffix
  end
  return candidate
end

--- Enters a room, which is made when nobody is there yet, and leaves the one
--- before. In the room where the member is already it changes the name.
---@param member any
---@param room_name any as it came from the client
---@param name any the same; made unique in the room
---@return { room: chat.Room, name: string, left: chat.Room?, old_name: string? }|nil
---  entered left and old_name: where the member was before, the same room even
---@return string? message what is wrong
function methods:join(member, room_name, name)
  local problem
  room_name, problem = read("the room", room_name, one_line, MAX_ROOM)
  if not room_name then return nil, problem end
  name, problem = read("the name", name, one_line, MAX_NAME)
  if not name then return nil, problem end
  local key = room_name:lower()
  local before = self.by_member[member]
  local room = self.by_name[key]
  local left, old_name = before, before and before.members[member]
  if before and before ~= room then self:leave(member) end
  if not room then
    room = { key = key, name = room_name, members = {}, history = {} }
    self.by_name[key] = room
  end
  name = free_name(room, name, member)
  room.members[member], self.by_member[member] = name, room
  return { room = room, name = name, left = left, old_name = old_name }
end

--- Leaves; the room goes with its last member.
---@param member any
---@return chat.Room|nil room nil when the member was in none
---@return string? name
function methods:leave(member)
  local room = self.by_member[member]
  if not room then return nil end
  local name = room.members[member]
  room.members[member], self.by_member[member] = nil, nil
  if next(room.members) == nil then self.by_name[room.key] = nil end
  return room, name
end

--- Says something to the room where the member is.
---@param member any
---@param text any as it came from the client
---@param time integer seconds since 1970
---@return chat.Message|nil message
---@return chat.Room|string room_or_problem
function methods:say(member, text, time)
  local room = self.by_member[member]
  if not room then return nil, "join a room first" end
  local clean, problem = read("the message", text, lines, MAX_TEXT)
  if not clean then return nil, problem end
  self.count = self.count + 1
  local message = {
    id = ("%s-%d"):format(self.prefix, self.count),
    name = room.members[member], text = clean, time = time,
  }
  local history = room.history
  history[#history + 1] = message
  if #history > HISTORY then table.remove(history, 1) end
  return message, room
end

--- The names in a room, in order.
---@param room chat.Room
---@return string[]
function rooms.names(room)
  local names = {}
  for _, name in pairs(room.members) do names[#names + 1] = name end
  table.sort(names, function(a, b) return a:lower() < b:lower() end)
  return names
end

return rooms
