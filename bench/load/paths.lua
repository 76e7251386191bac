-- wrk: asks for the paths of a file in turn, or for random build-ids, and says how it went in one line of JSON.
--   wrk -s paths.lua URL -- FILE          one path a line
--   wrk -s paths.lua URL -- random PREFIX SUFFIX
local started = 0

function setup(thread)
  thread:set("number", started)
  started = started + 1
end

function init(arguments)
  if arguments[1] == "random" then
    math.randomseed(os.time() * 16 + number)
    local prefix, suffix = arguments[2], arguments[3] or ""
    local random, format = math.random, string.format
    function request()
      local id = format("%08x%08x%08x%08x%08x", random(0, 2147483647), random(0, 2147483647), random(0, 2147483647),
        random(0, 2147483647), random(0, 2147483647))
      return wrk.format("GET", prefix .. id .. suffix)
    end
    return
  end
  local requests = {}
  for path in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
  -- Threads begin at different places.
  local at = math.floor(#requests / 2) * number % #requests
  function request()
    at = at % #requests + 1
    return requests[at]
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\n{"requests": %d, "microseconds": %d, "bytes": %d, "failed": %d, "not_2xx": %d, "p50": %d, "p99": %d}\n',
    summary.requests, summary.duration, summary.bytes, errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99)))
end
