-- SPDX-License-Identifier: MIT
-- What a host cannot have, and why: absent[host][case] = reason.

return {
  native = {
    ["options that it cannot honour raise and name it, as do functions it lacks"] =
      "the native host honours all options and has all functions",
    ["waiting where nothing can wait raises"] =
      "outside of tasks its waits turn the loop themselves",
  },
}
