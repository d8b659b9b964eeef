-- SPDX-License-Identifier: MIT
-- Real networks that fail: processes killed, machines asleep, cables cut. Each
-- program is in a network namespace of its own. Other hosts than the native one
-- are in spec/counterparts.

require "spec.network.on"("native", describe, it, setup)
