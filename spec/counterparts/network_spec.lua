-- SPDX-License-Identifier: MIT
-- Real networks that fail, on the hosts that spec/network leaves out.

local on = require "spec.network.on"

for _, host in ipairs { "cqueues", "copas", "luv" } do on(host, describe, it, setup) end
