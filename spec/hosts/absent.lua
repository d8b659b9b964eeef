-- SPDX-License-Identifier: MIT
-- What a host cannot have, and why: absent[host][case] = reason.

local ANY = "any coroutine may wait: it yields to whoever resumed it"

return {
  copas = { ["waiting in a coroutine that the loop does not know raises, and breaks nothing"] = ANY },
  luv = { ["waiting in a coroutine that the loop does not know raises, and breaks nothing"] = ANY },
  native = {
    ["options that it cannot honour raise and name it, as do functions it lacks"] =
      "the native host honours all options and has all functions",
    ["waiting where nothing can wait raises"] =
      "outside of tasks its waits turn the loop themselves",
  },
}
