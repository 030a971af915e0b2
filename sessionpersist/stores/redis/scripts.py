"""The Lua scripts of the REDIS store: each looks at the present record and acts on it in one step of the server.

ARGV[1] is always the time in milliseconds: a Lua number holds them exactly for 285,000 years. Versions don't fit into
one; they are compared as their eight bytes. A foreign record (see ``redis.unpack``) is as good as none.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from sessionpersist.stores.base import LONGEST_USER_ID, MAX_PAYLOAD_BYTES


class Script(NamedTuple):
    """A script, and the hash by which a server that has it can be asked to run it."""

    text: str
    sha: str


def script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# look(name) returns the head of a record as ``redis.HEADER`` lays it out, and the user id after it; '' where there is
# nothing, and nil for a foreign record: of another type, too short or long, out of range, a user id that is no text.
# As it looks for text, what is valid becomes one letter, so that bytes which it kept apart don't become neighbours.
LONGEST_HEAD = 26 + 4 * LONGEST_USER_ID  # bytes; a character takes up to four
LOOK = rf"""local function is_text(user)
    if #user > {LONGEST_USER_ID} then
        local _, letters = string.gsub(user, '[^\128-\191]', '')
        if letters > {LONGEST_USER_ID} then return false end
    end
    if not string.find(user, '[\128-\255]') then return true end
    for _, valid in ipairs({{
        '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
        '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
        '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
    }}) do user = string.gsub(user, valid, 'a') end
    return not string.find(user, '[\128-\255]')
end
local function look(name)
    local head = redis.pcall('GETRANGE', name, 0, {LONGEST_HEAD - 1})
    if type(head) == 'table' then
        if string.find(head.err, 'WRONGTYPE', 1, true) then return nil end
        return redis.call('GETRANGE', name, 0, 0)
    end
    local length = #head
    if length == 0 then return head end
    if length < 26 or string.byte(head, 1) > 127 or string.byte(head, 9) > 127 or string.byte(head, 17) > 127 then
        return nil
    end
    local start = 26 + string.byte(head, 25) * 256 + string.byte(head, 26)
    if start > length or not is_text(string.sub(head, 27, start)) then return nil end
    if length == {LONGEST_HEAD} and redis.call('STRLEN', name) - start > {MAX_PAYLOAD_BYTES} then return nil end
    return head
end
local function expiry(head) return struct.unpack('>I8', head, 17) end
local now = tonumber(ARGV[1])
local ENDED = string.rep('\0', 8)
"""
# The last argument of a script on one record where replicas are waited for. An answer that nothing was left to do may
# be due to a write before it that no replica has confirmed. WAIT only waits for what its own connection has written: so
# something is written, which comes after that.
CONFIRMED = b"confirmed"
# KEYS[1] is the record. Returns 0 where there is none to change; -1 where that is to be confirmed.
LIVE = rf"""{LOOK}local head = look(KEYS[1])
local confirmed = ARGV[#ARGV] == '{CONFIRMED.decode()}'
if not head or (head ~= '' and expiry(head) <= now) then return 0 end
local version = string.sub(head, 1, 8)
if head == '' or version == ENDED then
    if not confirmed then return 0 end
    if head == '' then
        redis.call('SET', KEYS[1], '', 'PX', 1)
        redis.call('DEL', KEYS[1])
    else
        redis.call('SETRANGE', KEYS[1], 0, version)
    end
    return -1
end
"""
# ARGV: time, new value, its TTL. Writes over an expired record that the server has not deleted yet.
REUSE = script(f"""{LOOK}local head = look(KEYS[1])
if not head or (head ~= '' and expiry(head) > now) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")
# ARGV: time, expected version, new value, its TTL.
REPLACE = script(f"""{LIVE}if version ~= ARGV[2] then return 1 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 2
""")
# KEYS: the record to replace, then those to end. ARGV: as for REPLACE, the TTL of the ends, the value of each. Where
# one of the ends is refused, as the server is full, nothing is replaced.
END_AND_REPLACE = script(f"""for at = 2, #KEYS do redis.call('SET', KEYS[at], ARGV[at + 4], 'PX', ARGV[5]) end
{REPLACE.text}""")
# KEYS: two records, and the one that the second takes the place of, if any. ARGV: time; for each the expected version
# (of that one, where there is one) or an empty string for a new record, its value, its TTL. Returns what REPLACE does
# where the first is not saved, and 2 more than that for the second. That there is none of the first is not confirmed by
# replicas: it is read again then.
SAVE_BOTH = script(f"""{LOOK}local function save(name, expected, value, life, old)
    local head = look(old or name)
    local absent = head and (head == '' or expiry(head) <= now)
    if expected == '' then
        if not absent then return 1 end
    elseif not head or absent or string.sub(head, 1, 8) == ENDED then return 0
    elseif string.sub(head, 1, 8) ~= expected then return 1 end
    if old then
        local new = look(name)
        if not new or (new ~= '' and expiry(new) > now) then return 1 end
        redis.call('DEL', old)
    end
    redis.call('SET', name, value, 'PX', life)
    return 2
end
local first = save(KEYS[1], ARGV[2], ARGV[3], ARGV[4])
if first < 2 then return first end
return 2 + save(KEYS[2], ARGV[5], ARGV[6], ARGV[7], KEYS[3])
""")
# ARGV: time, new expires_at, its TTL.
TOUCH = script(f"""{LIVE}if tonumber(ARGV[2]) > expiry(head) then
    redis.call('SETRANGE', KEYS[1], 16, struct.pack('>I8', tonumber(ARGV[2])))
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
elseif confirmed then
    redis.call('SETRANGE', KEYS[1], 0, version)
end
return 1
""")
# ARGV: time, the version to delete, or an empty string for any.
DELETE = script(f"""{LIVE}if ARGV[2] ~= '' and version ~= ARGV[2] then return 0 end
return redis.call('DEL', KEYS[1])
""")
# KEYS: the old record and the new one. ARGV: time, the version to delete or an empty string for any, new value, its
# TTL. Returns 0 where the new key is taken, 1 where only the new record was written, 2 where the old one was deleted,
# too.
ROTATE = script(f"""{LOOK}local new = look(KEYS[2])
if not new or (new ~= '' and expiry(new) > now) then return 0 end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
local old = look(KEYS[1])
if not old or old == '' or expiry(old) <= now then return 1 end
local version = string.sub(old, 1, 8)
if version == ENDED or (ARGV[2] ~= '' and version ~= ARGV[2]) then return 1 end
redis.call('DEL', KEYS[1])
return 2
""")
# KEYS: any number of records. ARGV: time, the version of each. Returns for each what DELETE does.
DELETE_MANY = script(rf"""{LOOK}local deleted = {{}}
for at, name in ipairs(KEYS) do
    local head = look(name)
    deleted[at] = 0
    if head and head ~= '' and expiry(head) > now and string.sub(head, 1, 8) == ARGV[at + 1]
        and ARGV[at + 1] ~= ENDED then deleted[at] = redis.call('DEL', name) end
end
return deleted
""")
# KEYS: any number of records. ARGV: time. Reads their heads only: payloads are large.
COUNT = script(rf"""{LOOK}local live = 0
for _, name in ipairs(KEYS) do
    local head = look(name)
    if head and head ~= '' and expiry(head) > now and string.sub(head, 1, 8) ~= ENDED then live = live + 1 end
end
return live
""")
# KEYS: any number of records. ARGV: time, bytes. Returns for each its value, false where there is nothing, and 0 for a
# foreign record; fewer than were asked for where they would take more bytes than that, but at least one.
PAGE = script(rf"""{LOOK}local page, bytes = {{}}, 0
for at, name in ipairs(KEYS) do
    local head = look(name)
    local value = 0
    if head == '' then value = false elseif head then value = redis.call('GET', name) end
    if type(value) == 'string' then
        bytes = bytes + #value
        if at > 1 and bytes > tonumber(ARGV[2]) then break end
    end
    page[at] = value
end
return page
""")
