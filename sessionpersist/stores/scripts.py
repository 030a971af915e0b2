"""The Lua scripts of the REDIS store: each looks at the present record and acts on it in one step of the server.

KEYS[1] is always the record, laid out as ``redis.HEADER`` says, and ARGV[1] the time in milliseconds: a Lua number
holds them exactly for 285,000 years. Versions don't fit into one; they are compared as their eight bytes.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple


class Script(NamedTuple):
    """A script, and the hash by which a server that has it can be asked to run it."""

    text: str
    sha: str


def script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


HEAD = """
local head = redis.call('GETRANGE', KEYS[1], 0, 23)
local expired = head ~= '' and struct.unpack('>I8', head, 17) <= tonumber(ARGV[1])
"""
LIVE = rf"""{HEAD}local version = string.sub(head, 1, 8)
if head == '' or expired or version == string.rep('\0', 8) then return 0 end
"""
# ARGV: time, new value, its TTL. Writes over an expired record that the server has not deleted yet.
REUSE = script(f"""{HEAD}if head ~= '' and not expired then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")
# ARGV: time, expected version, new value, its TTL. created_at of the stored record is kept.
REPLACE = script(f"""{LIVE}if version ~= ARGV[2] then return 1 end
local value = string.sub(ARGV[3], 1, 8) .. string.sub(head, 9, 16) .. string.sub(ARGV[3], 17)
redis.call('SET', KEYS[1], value, 'PX', ARGV[4])
return 2
""")
# ARGV: time, new expires_at, its TTL.
TOUCH = script(f"""{LIVE}if tonumber(ARGV[2]) > struct.unpack('>I8', head, 17) then
    redis.call('SETRANGE', KEYS[1], 16, struct.pack('>I8', tonumber(ARGV[2])))
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
""")
# ARGV: time, the version to delete, or an empty string for any.
DELETE = script(f"""{LIVE}if ARGV[2] ~= '' and version ~= ARGV[2] then return 0 end
return redis.call('DEL', KEYS[1])
""")
# KEYS: any number of records. ARGV: time. Reads their heads only: payloads are large.
COUNT = script(r"""local live = 0
for _, name in ipairs(KEYS) do
    local head = redis.call('GETRANGE', name, 0, 23)
    if head ~= '' and string.sub(head, 1, 8) ~= string.rep('\0', 8)
        and struct.unpack('>I8', head, 17) > tonumber(ARGV[1]) then live = live + 1 end
end
return live
""")
