-- SPDX-License-Identifier: MIT
-- What a host cannot have, and why: absent[host][case] = reason.

return {}
