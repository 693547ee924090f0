"""What runs inside Redis: each script is one atomic step of a reader or of the one writer.

A timeline is a sorted set of equal scores, so its members are in the order of their bytes:

    reversed time (8) + reversed generation (6) + 1 (a value) or 0 (taken away) + value

A reader sees for each time the newest member of its own generation or an older one.
"""

from __future__ import annotations

_COMMON = """
local LAST = string.rep('\\255', 6)
local function number(text)
  local a, b, c, d, e, f = string.byte(text, 1, 6)
  return ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
end
local function visible(key, low, high, oldest, one)
  local found, last, count = {}, '', one and 2 or 512
  while true do
    local members = redis.call('ZRANGEBYLEX', key, low, high, 'LIMIT', 0, count)
    for _, member in ipairs(members) do
      local time = string.sub(member, 1, 8)
      if time ~= last and number(string.sub(member, 9, 14)) >= oldest then
        last = time
        if string.byte(member, 15) == 1 then
          if one then return member end
          found[#found + 1] = member
        end
      end
    end
    if #members < count then break end
    low = '(' .. members[#members]
  end
  if one then return false end
  return found
end
"""

# KEYS: state. ARGV: generation to read as of ("" for the newest), then for each look-up: key, from, to ("" for one).
READ = (
    _COMMON
    + """
local state = redis.call('HMGET', KEYS[1], 'head', 'swept')
local asked = ARGV[1] ~= '' and ARGV[1] or (state[1] or '0')
if tonumber(asked) < tonumber(state[2] or '0') then return {'moved'} end
local oldest = 281474976710655 - tonumber(asked)
local answer = {asked}
for place = 2, #ARGV, 3 do
  local key, low, high = ARGV[place], '[' .. ARGV[place + 1], ARGV[place + 2]
  if high == '' then
    answer[#answer + 1] = visible(key, low, '+', oldest, true)
  else
    answer[#answer + 1] = visible(key, low, '[' .. high .. LAST, oldest, false)
  end
end
return answer
"""
)

_WRITING = (
    _COMMON
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('LOST another writer has taken over') end
local mine, touched, stale = ARGV[2], {}, {}
local function note(list, key) if list[#list] ~= key then list[#list + 1] = key end end
"""
)
_NOTED = """
if #touched > 0 then redis.call('RPUSH', KEYS[2], cmsgpack.pack(touched)) end
if #stale > 0 then redis.call('RPUSH', KEYS[3], cmsgpack.pack(stale)) end
"""

# KEYS: lock, journal, stale. ARGV: token, reversed generation, then key, reversed time, value for each entry.
PUT = (
    _WRITING
    + """
for place = 3, #ARGV, 3 do
  local key, time = ARGV[place], ARGV[place + 1]
  for _, member in ipairs(redis.call('ZRANGEBYLEX', key, '[' .. time, '[' .. time .. LAST)) do
    if string.sub(member, 9, 14) == mine then redis.call('ZREM', key, member) else note(stale, key) end
  end
  note(touched, key)
  redis.call('ZADD', key, 0, time .. mine .. '\\1' .. ARGV[place + 2])
end
"""
    + _NOTED
)

# KEYS: lock, journal, stale. ARGV: token, reversed generation, then key, reversed first time. Gives how many of each.
CUT = (
    _WRITING
    + """
local counts, oldest = {}, number(mine)
for place = 3, #ARGV, 2 do
  local key = ARGV[place]
  local found = visible(key, '-', '[' .. ARGV[place + 1] .. LAST, oldest, false)
  for _, member in ipairs(found) do
    local time = string.sub(member, 1, 8)
    if string.sub(member, 9, 14) == mine then redis.call('ZREM', key, member) end
    if #redis.call('ZRANGEBYLEX', key, '[' .. time, '[' .. time .. LAST) > 0 then
      redis.call('ZADD', key, 0, time .. mine .. '\\0')
      note(stale, key)
    end
    note(touched, key)
  end
  counts[#counts + 1] = #found
end
"""
    + _NOTED
    + "return counts"
)

# KEYS: lock, state. ARGV: token, how long it is held (ms). Gives whether it is ours, and what is to be tidied first.
BEGIN = """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {redis.call('GET', KEYS[1])} end
return {'ours', redis.call('HGET', KEYS[2], 'attempt') or ''}
"""
# KEYS: lock, state. ARGV: token. A generation of one's own.
START = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('LOST another writer has taken over') end
local mine = redis.call('HINCRBY', KEYS[2], 'next', 1)
redis.call('HSET', KEYS[2], 'attempt', mine)
return mine
"""
# KEYS: lock, state, journal, views, namespaces, sweeps.
# ARGV: token, generation, namespace, now (ms), then digest and record of each view.
COMMIT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('LOST another writer has taken over') end
for place = 5, #ARGV, 2 do redis.call('HSET', KEYS[4], ARGV[place], ARGV[place + 1]) end
redis.call('SADD', KEYS[5], ARGV[3])
redis.call('HSET', KEYS[6], ARGV[2], ARGV[4])
redis.call('HSET', KEYS[2], 'head', ARGV[2])
redis.call('HDEL', KEYS[2], 'attempt')
redis.call('UNLINK', KEYS[3])
return 1
"""
# KEYS: lock. ARGV: token, the token that is taken over or "" to give the lock back, how long (ms).
HOLD = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1 end return 0"
LEAVE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) return 1 end return 0"

# KEYS: lock, journal. ARGV: token, reversed generation. Takes one note off the journal and its writes back.
UNDO = (
    _WRITING
    + """
local packed = redis.call('LINDEX', KEYS[2], 0)
if not packed then return 0 end
for _, key in ipairs(cmsgpack.unpack(packed)) do
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    if string.sub(member, 9, 14) == mine then redis.call('ZREM', key, member) end
  end
end
redis.call('LPOP', KEYS[2])
return 1
"""
)
# KEYS: lock, stale, state. ARGV: token, reversed generation, generation. What that generation hides is removed.
SWEEP = (
    _WRITING
    + """
if tonumber(redis.call('HGET', KEYS[3], 'swept') or '0') < tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[3], 'swept', ARGV[3])
end
local packed, oldest = redis.call('LINDEX', KEYS[2], 0), number(mine)
if not packed then return 0 end
for _, key in ipairs(cmsgpack.unpack(packed)) do
  local last = ''
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    local time = string.sub(member, 1, 8)
    if number(string.sub(member, 9, 14)) >= oldest then
      if time == last or string.byte(member, 15) == 0 then redis.call('ZREM', key, member) end
      last = time
    end
  end
end
redis.call('LPOP', KEYS[2])
return 1
"""
)
