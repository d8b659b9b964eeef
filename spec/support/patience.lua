-- SPDX-License-Identifier: MIT
-- How many seconds specs wait for what has to come before they say that it does
-- not. It comes within milliseconds; but four versions of Lua may play on two
-- processors, under a sanitizer, beside whatever else a machine does.

return 20
