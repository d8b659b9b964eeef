-- SPDX-License-Identifier: MIT
-- Texts right and wrong, in hexadecimal. For wrong ones the number of the byte
-- at which they become impossible, by table 3-7 of the Unicode standard; 0
-- when every byte may stand but the text ends in the middle of a character.

local kosme = "cebae1bdb9cf83cebcceb5"

local rows = {
  -- hex, what it is
  valid = {
    { "", "nothing" },
    { "48656c6c6f2dc2b540c39fc3b6c3a4c3bcc3a0c3a12d5554462d382121", "letters of Latin-1" },
    { kosme, "Greek" },
    { "ceba", "one letter" }, { "cebae1bdb9", "two letters" },
    { "cebae1bdb9cf83", "three letters" }, { "cebae1bdb9cf83cebc", "four letters" },
    { "00", "U+0000" }, { "7f", "U+007F" },
    { "c280", "U+0080" }, { "dfbf", "U+07FF" },
    { "e0a080", "U+0800" }, { "ed9fbf", "U+D7FF, before the surrogates" },
    { "ee8080", "U+E000, after the surrogates" }, { "efbfbd", "U+FFFD" },
    { "efbfbf", "U+FFFF" }, { "f0908080", "U+10000" }, { "f48fbfbf", "U+10FFFF, the last" },
    { "efbfbe", "U+FFFE, no character" }, { "f09fbfbe", "U+1FFFE" }, { "f09fbfbf", "U+1FFFF" },
    { "f0afbfbe", "U+2FFFE" }, { "f0bfbfbf", "U+3FFFF" }, { "f18fbfbe", "U+4FFFE" },
    { "f2bfbfbf", "U+BFFFF" }, { "f3bfbfbe", "U+FFFFE" }, { "f48fbfbe", "U+10FFFE" },
    { "efbfb9efbfbaefbfbb", "interlinear annotation" }, { "efbbbf68", "a byte order mark" },
    { "f09f9880f09f9181", "pictures" },
  },
  -- hex, number of the bad byte, what it is
  invalid = {
    { "ce", 0, "half a letter" }, { "cebae1", 0, "a letter and a third" },
    { "cebae1bd", 0, "a letter and two thirds" }, { "f4", 0, "a quarter" },
    { "f48f", 0, "two quarters" }, { "f48fbf", 0, "three quarters" }, { "df", 0, "U+07C0 cut" },
    { "efbf", 0, "U+FFC0 cut" },
    { kosme .. "eda080656469746564", 13, "a surrogate in a text" },
    { kosme .. "f4908080656469746564", 13, "beyond U+10FFFF in a text" },
    { "80", 1, "a continuation alone" }, { "bf", 1, "the last continuation alone" },
    { "8080", 1, "two continuations" }, { "80bf80bf80bf", 1, "six continuations" },
    { "c0", 1, "C0" }, { "c1", 1, "C1" }, { "f5", 1, "F5" }, { "fe", 1, "FE" }, { "ff", 1, "FF" },
    { "fefeffff", 1, "FE FE FF FF" },
    { "c020c120", 1, "C0 and a space" }, { "c220c320", 2, "C2 and a space" },
    { "e020e120", 2, "E0 and a space" }, { "e1bd20", 3, "E1 BD and a space" },
    { "f020f120", 2, "F0 and a space" }, { "f1808020", 4, "F1 80 80 and a space" },
    { "f820f920", 1, "F8 and a space" }, { "fc20fd20", 1, "FC and a space" },
    { "c3c3a4", 2, "a start within a character" },
    { "f888808080", 1, "five bytes" }, { "fc8480808080", 1, "six bytes" },
    { "f7bfbfbf", 1, "U+1FFFFF" }, { "fbbfbfbfbf", 1, "U+3FFFFFF" }, { "fdbfbfbfbfbf", 1, "U+7FFFFFFF" },
    { "f4908080", 2, "U+110000" },
    { "e080", 2, "E0 80" }, { "f08080", 2, "F0 80 80" },
    { "c0afe080aff08080af", 1, "overlong slashes" },
    { "c0af", 1, "/ in two bytes" }, { "e080af", 2, "/ in three bytes" },
    { "f08080af", 2, "/ in four bytes" }, { "f8808080af", 1, "/ in five bytes" },
    { "fc80808080af", 1, "/ in six bytes" },
    { "c1bf", 1, "U+007F in two bytes" }, { "e09fbf", 2, "U+07FF in three bytes" },
    { "f08fbfbf", 2, "U+FFFF in four bytes" }, { "f887bfbfbf", 1, "U+1FFFFF in five bytes" },
    { "c080", 1, "U+0000 in two bytes" }, { "e08080", 2, "U+0000 in three bytes" },
    { "f0808080", 2, "U+0000 in four bytes" },
    { "eda080", 2, "U+D800" }, { "edadbf", 2, "U+DB7F" }, { "edae80", 2, "U+DB80" },
    { "edafbf", 2, "U+DBFF" }, { "edb080", 2, "U+DC00" }, { "edbe80", 2, "U+DF80" },
    { "edbfbf", 2, "U+DFFF" }, { "eda080edb080", 2, "a pair of surrogates" },
    { "edafbfedbfbf", 2, "the last pair of surrogates" },
    { "4142438044", 4, "a continuation after ASCII" },
  },
}

-- More that the Autobahn test suite sends: beginnings of a text, start bytes alone,
-- numbers that need less or that nobody has, halves of pairs.
rows.others = {
  valid = { "68656c6c6f24776f726c64", "68656c6c6fc2a2776f726c64", "68656c6c6fe282ac776f726c64",
    "68656c6c6ff0a4ada2776f726c64", "efbfb9", "efbfba", "efbfbb", "efbfbc" },
  invalid = { kosme:sub(1, 12), kosme:sub(1, 16), kosme:sub(1, 20), "80bf", "80bf80", "80bf80bf", "80bf80bf80",
    "80bf80bf80bf80", "f8808080", "fc80808080", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf", "fc83bfbfbfbf", "f880808080",
    "fc8080808080", "eda080edbfbf", "edadbfedb080", "edadbfedbfbf", "edae80edb080", "edae80edbfbf", "edafbfedb080",
    "c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf" },
}
for start = 0xf0, 0xf4 do -- the last two of each plane, which are no characters
  for high = start == 0xf0 and 0x9f or 0x8f, start == 0xf4 and 0x8f or 0xbf, 16 do
    for last = 0xbe, 0xbf do
      table.insert(rows.others.valid, ("%x%xbf%x"):format(start, high, last))
    end
  end
end
local function every(first, last, behind)
  local list = {}
  for byte = first, last do list[#list + 1] = ("%02x%s"):format(byte, behind) end
  table.insert(rows.others.invalid, table.concat(list))
end
every(0x80, 0xbe, "")
for _, range in ipairs { { 0xc0, 0xde }, { 0xe0, 0xee }, { 0xf0, 0xf6 }, { 0xf8, 0xfa }, { 0xfc, 0xfc } } do
  every(range[1], range[2], "20")
end

-- The same behind long ASCII, where a vector kernel would be at work.
for _, pad in ipairs { 29, 31, 64, 1000 } do
  local ascii = ("61"):rep(pad)
  table.insert(rows.valid, { ascii .. kosme .. ascii, "Greek within " .. pad .. " letters" })
  table.insert(rows.invalid, { ascii .. "eda080" .. ascii, pad + 2, "a surrogate after " .. pad .. " letters" })
  table.insert(rows.invalid, { ascii .. "f48f", 0, "a cut character after " .. pad .. " letters" })
end

return rows
