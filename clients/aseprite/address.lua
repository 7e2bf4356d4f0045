-- SPDX-License-Identifier: Apache-2.0
-- From what a person types as the server's address to the address of its socket.

local address = {}

address.DEFAULT = "127.0.0.1:8190"
local PATH = "/pixel/ws"
local SCHEMES = { http = "ws", https = "wss", ws = "ws", wss = "wss" }

--- @return the socket's address and "host:port" to be shown; or nil and what is wrong.
function address.socket(typed)
  local text = typed:match("^%s*(.-)%s*$")
  if text == "" then
    text = address.DEFAULT
  end
  local scheme, rest = text:match("^(%a[%w+.-]*)://(.*)$")
  scheme = SCHEMES[(scheme or "http"):lower()]
  if not scheme then
    return nil, "The address begins with something else than http:// or https://."
  end
  local authority, path = (rest or text):match("^([^/?#]+)/?([^?#]*)")
  if not authority or authority:find("[%s@]") then
    return nil, "The address should look like " .. address.DEFAULT .. "."
  end
  local name, port = authority:match("^(.+):(%d*)$")
  if not name or authority:match("^%[[%x:.]+%]$") then
    name, port = authority, ""
  end
  if name == "" or name:find("[^%w%[%].:_-]") or (name:find(":") and name:sub(1, 1) ~= "[") then
    return nil, "The address should look like " .. address.DEFAULT .. "."
  end
  if port == "" then
    port = scheme == "wss" and "443" or (rest and "80" or "8190")
  end
  if tonumber(port) > 65535 then
    return nil, "Port " .. port .. " does not exist; the highest is 65535."
  end
  path = path:gsub("/+$", ""):gsub("/?pixel/ws$", "")
  local shown = name .. ":" .. port
  return scheme .. "://" .. shown .. (path == "" and "" or "/" .. path) .. PATH, shown
end

return address
