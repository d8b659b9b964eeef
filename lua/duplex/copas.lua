-- SPDX-License-Identifier: MIT
-- Duplex for programs that live in copas:
-- local duplex = require "duplex.copas"

return require("duplex.bind")(require "duplex.host.copas")
