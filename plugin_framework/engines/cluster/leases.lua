-- The leases in Redis: `ARGV[1]` names what is done, and all of it is done at once or not at all.
--
-- datahub:s:<subtask>      service, handed, number, beats, node, held, begun, losses, state, ending,
--                          fate, noticed
-- datahub:f:<subtask>      its files: u:<name> the upload, x:<name> its sealed URLs, c:<name> the id
--                          of the upload that is complete, o:<name> the output, p:<JSON> a part
-- datahub:taken:<service>  subtasks that were taken and have not ended
-- datahub:ended:<service>  those that have, and the service has not noticed
-- datahub:done             those that it has, or that are no service's, by when
-- datahub:nodes, datahub:seen, datahub:facts
local call = redis.call

local function key(id) return 'datahub:s:' .. id end
local function files(id) return 'datahub:f:' .. id end

local function now()
  local time = call('TIME')
  return time[1] .. '.' .. string.format('%06d', time[2])
end

local function settled(id)
  local fate = call('HGET', key(id), 'fate')
  return fate and fate ~= 'pending'
end

-- Lists keep the order in which their entries came.
local function listed(name, id, holds)
  if holds then call('ZADD', name, 'NX', now(), id) else call('ZREM', name, id) end
end

local function list(id)
  local row = call('HMGET', key(id), 'service', 'number', 'noticed')
  local service, over, noticed = row[1] or '', settled(id), row[3] == '1'
  listed('datahub:taken:' .. service, id, not over and tonumber(row[2] or 0) > 0)
  -- What strangers' messages were about is no service's, and none will notice it.
  noticed = noticed or service == ''
  listed('datahub:ended:' .. service, id, over and not noticed)
  listed('datahub:done', id, over and noticed)
end

local function ours(id, number, node)
  local row = call('HMGET', key(id), 'number', 'node', 'held')
  return row[1] == number and row[2] == node and row[3] == '1'
end

local function sight(id)
  local row = call('HMGET', key(id), 'number', 'beats', 'node', 'held')
  return {tonumber(row[1] or 0), tonumber(row[2] or 0), row[3] or '', tonumber(row[4] or 0)}
end

local function write_ending(id, ending, fate)
  call('HSETNX', key(id), 'ending', ending)
  call('HSETNX', key(id), 'fate', fate)
  list(id)
  return call('HMGET', key(id), 'ending', 'fate')
end

local function forget_files(id, outputs_too)
  for _, field in ipairs(call('HKEYS', files(id))) do
    if outputs_too or field:sub(1, 2) ~= 'o:' then call('HDEL', files(id), field) end
  end
end

-- All but the number goes.
local function begin_anew(id)
  call('HSET', key(id), 'held', 0)
  call('HDEL', key(id), 'handed', 'begun', 'losses', 'state', 'ending', 'fate', 'noticed')
  forget_files(id, true)
end

local does = {}

function does.open(service, ...)
  local handed = {}
  for _, id in ipairs({...}) do
    local before = call('HMGET', key(id), 'service', 'noticed')
    if before[2] == '1' then begin_anew(id) end
    if before[1] ~= service then
      call('ZREM', 'datahub:taken:' .. (before[1] or ''), id)
      call('ZREM', 'datahub:ended:' .. (before[1] or ''), id)
      call('HSET', key(id), 'service', service)
    end
    if call('HEXISTS', key(id), 'handed') == 1 then handed[#handed + 1] = id end
    list(id)
  end
  return handed
end

function does.handed(...)
  for _, id in ipairs({...}) do
    if call('EXISTS', key(id)) == 1 then call('HSET', key(id), 'handed', 1) end
  end
end

function does.look(id)
  return call('EXISTS', key(id)) == 1 and sight(id)
end

function does.acquire(id, node, number, beats, held)
  local seen = sight(id)
  if seen[1] ~= tonumber(number) or seen[2] ~= tonumber(beats) or seen[4] ~= tonumber(held) then
    return false
  end
  call('HINCRBY', key(id), 'number', 1)
  local losses = call('HINCRBY', key(id), 'losses', call('HGET', key(id), 'begun') or 0)
  call('HSET', key(id), 'node', node, 'held', 1, 'begun', 0)
  list(id)
  return {seen[1] + 1, losses}
end

function does.renew(...)
  local given, renewed = {...}, {}
  for at = 1, #given, 3 do
    if ours(given[at], given[at + 1], given[at + 2]) then
      call('HINCRBY', key(given[at]), 'beats', 1)
      renewed[#renewed + 1] = given[at]
    end
  end
  return renewed
end

function does.release(id, number, node)
  if not ours(id, number, node) then return end
  if call('HGET', key(id), 'begun') == '1' then call('HDEL', key(id), 'losses') end
  call('HSET', key(id), 'held', 0, 'begun', 0)
end

function does.set_begun(id, number, node, begun)
  return ours(id, number, node) and call('HSET', key(id), 'begun', begun)
end

function does.ending(id)
  local row = call('HMGET', key(id), 'ending', 'fate')
  return row[1] and row
end

function does.finish(id, number, node, ending, fate)
  return ours(id, number, node) and write_ending(id, ending, fate)
end

function does.end_unheld(id, ending, fate)
  return call('HGET', key(id), 'held') ~= '1' and write_ending(id, ending, fate)
end

function does.settle(id, fate)
  local row = call('HMGET', key(id), 'ending', 'fate')
  if not row[1] then return end
  call('HSET', key(id), 'fate', row[2] == 'delivered' and row[2] or fate)
  forget_files(id, false)
  list(id)
end

function does.load(id, number, node)
  if not ours(id, number, node) then return false end
  return {call('HGET', key(id), 'state') or '{}', call('HGETALL', files(id))}
end

function does.save_state(id, number, node, state)
  return ours(id, number, node) and call('HSET', key(id), 'state', state)
end

function does.begin_upload(id, number, node, name, upload, sealed)
  if not ours(id, number, node) then return false end
  call('HDEL', files(id), 'c:' .. name)
  return call('HSET', files(id), 'u:' .. name, upload, 'x:' .. name, sealed)
end

function does.keep_part(id, number, node, part, kept)
  return ours(id, number, node) and call('HSET', files(id), 'p:' .. part, kept)
end

function does.complete_upload(id, number, node, name, upload_id, output)
  if not ours(id, number, node) then return false end
  local upload = call('HGET', files(id), 'u:' .. name)
  if upload and cjson.decode(upload)[1] == upload_id then
    call('HSET', files(id), 'c:' .. name, upload_id)
    call('HDEL', files(id), 'x:' .. name)
  end
  return call('HSET', files(id), 'o:' .. name, output)
end

function does.held(service)
  local found = {}
  for _, id in ipairs(call('ZRANGE', 'datahub:taken:' .. service, 0, -1)) do
    found[#found + 1] = {id, sight(id)}
  end
  return found
end

function does.ended(service, most)
  local found = {}
  for _, id in ipairs(call('ZRANGE', 'datahub:ended:' .. service, 0, most - 1)) do
    found[#found + 1] = {id, call('HMGET', key(id), 'ending', 'fate')}
  end
  return found
end

function does.noticed(...)
  for _, id in ipairs({...}) do
    if settled(id) then
      call('HSET', key(id), 'noticed', 1)
      list(id)
    end
  end
end

function does.beat(name, record)
  local time = now()
  call('HSET', 'datahub:nodes', name, record)
  call('ZADD', 'datahub:seen', time, name)
  return time
end

function does.leave(name)
  call('HDEL', 'datahub:nodes', name)
  call('ZREM', 'datahub:seen', name)
end

function does.prune(before, most)
  local over = call('ZRANGEBYSCORE', 'datahub:done', '-inf', '(' .. before, 'LIMIT', 0, most)
  for _, id in ipairs(over) do
    call('DEL', key(id), files(id))
    call('ZREM', 'datahub:done', id)
  end
  for _, name in ipairs(call('ZRANGEBYSCORE', 'datahub:seen', '-inf', '(' .. before)) do
    does.leave(name)
  end
  return #over
end

return does[ARGV[1]](unpack(ARGV, 2))
