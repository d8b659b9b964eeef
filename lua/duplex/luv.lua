-- SPDX-License-Identifier: MIT
-- Duplex for programs that live in luv, Neovim's and Luvit's included:
-- local duplex = require "duplex.luv"

return require("duplex.bind")(require "duplex.host.luv")
