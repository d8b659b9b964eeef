-- SPDX-License-Identifier: MIT
-- Numbers as Prometheus and what speaks its language read them: the text
-- exposition format, version 0.0.4.

local prometheus = {}

--- What an HTTP answer with this text has to say it is.
prometheus.CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

--- Checks the argument of a method that gives its numbers as a table or as this text;
--- raises otherwise.
---@param format any
---@param level? integer whom to blame, as for error: 2 (default) is the caller of the
---  function that calls this
function prometheus.check(format, level)
  if format == nil or format == "prometheus" then return end
  error(('format must be "prometheus" or nothing, got %s'):format(tostring(format)), (level or 2) + 1)
end

local IN_HELP = { ["\\"] = "\\\\", ["\n"] = "\\n" }
local IN_VALUE = { ["\\"] = "\\\\", ["\n"] = "\\n", ['"'] = '\\"' }

local function number(value)
  if value ~= value then return "NaN" end
  if value == math.huge then return "+Inf" end
  if value == -math.huge then return "-Inf" end
  if value % 1 == 0 and math.abs(value) < 2^53 then return ("%.0f"):format(value) end
  local short = ("%.15g"):format(value)
  return tonumber(short) == value and short or ("%.17g"):format(value)
end

-- {name="value",...} with the names in order; "" for none.
local function braces(labels, le)
  local names, parts = {}, {}
  for name in pairs(labels or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    parts[#parts + 1] = ('%s="%s"'):format(name, (tostring(labels[name]):gsub('[\\\n"]', IN_VALUE)))
  end
  if le then parts[#parts + 1] = ('le="%s"'):format(number(le)) end
  return parts[1] and "{" .. table.concat(parts, ",") .. "}" or ""
end

---@class duplex.MetricSample
---@field labels? table<string, any> names are letters, digits and "_"; values any text
---@field value? number of a counter or a gauge
---@field count? integer observations, of a histogram
---@field sum? number of all that was observed
---@field buckets? number[][] { upper bound, observations up to it }, bounds rising;
---  that of infinity is added

---@class duplex.MetricFamily
---@field name string letters, digits and "_"; a counter's ends with "_total"
---@field type "counter"|"gauge"|"histogram"
---@field help string one sentence
---@field [integer] duplex.MetricSample

local function add_histogram(lines, name, sample)
  for _, bucket in ipairs(sample.buckets) do
    lines[#lines + 1] = ("%s_bucket%s %s"):format(name, braces(sample.labels, bucket[1]),
      number(bucket[2]))
  end
  lines[#lines + 1] = ("%s_bucket%s %s"):format(name, braces(sample.labels, math.huge),
    number(sample.count))
  local labels = braces(sample.labels)
  lines[#lines + 1] = ("%s_sum%s %s"):format(name, labels, number(sample.sum))
  lines[#lines + 1] = ("%s_count%s %s"):format(name, labels, number(sample.count))
end

--- The text of some families. Texts of families with different names may be
--- joined to one.
---@param families duplex.MetricFamily[]
---@return string
function prometheus.text(families)
  local lines = {}
  for _, family in ipairs(families) do
    local name = family.name
    lines[#lines + 1] = ("# HELP %s %s"):format(name, (family.help:gsub("[\\\n]", IN_HELP)))
    lines[#lines + 1] = ("# TYPE %s %s"):format(name, family.type)
    for _, sample in ipairs(family) do
      if family.type == "histogram" then
        add_histogram(lines, name, sample)
      else
        lines[#lines + 1] = ("%s%s %s"):format(name, braces(sample.labels), number(sample.value))
      end
    end
  end
  lines[#lines + 1] = ""
  return table.concat(lines, "\n")
end

return prometheus
