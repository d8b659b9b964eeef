-- SPDX-License-Identifier: MIT
-- Runs a program whose servers then speak TLS, though it knows nothing of it.
-- usage: secure.lua CERTIFICATE KEY PROGRAM [ARGUMENT...]

local duplex = require "duplex"

local serve, words = duplex.serve, arg

function duplex.serve(options, handler)
  options.tls = { certificate = words[1], key = words[2] }
  return serve(options, handler)
end

_G.arg = { [0] = words[3], select(4, table.unpack(words)) }
dofile(words[3])
