-- SPDX-License-Identifier: MIT
-- duplex: WebSockets on coroutines. This module is bound to the native event
-- loop; duplex.bind(host) gives the same functions bound to another one.

return require("duplex.bind")(require "duplex.host.native")
