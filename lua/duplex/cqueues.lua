-- SPDX-License-Identifier: MIT
-- Duplex for programs that live in cqueues: local duplex = require "duplex.cqueues"

return require("duplex.bind")(require "duplex.host.cqueues")
