-- SPDX-License-Identifier: Apache-2.0
-- Inglenook in Aseprite: one command under File > Scripts, which opens the dialog.

local LEAST_API = 26 -- Aseprite 1.3

-- `require` finds the extension's modules only while this file runs, so all are taken here.
local Dialogue = (app.apiVersion or 0) >= LEAST_API and require("dialog")

local open = {}

function init(plugin)
  if not Dialogue then
    return -- an older Aseprite: the command is not offered, instead of failing when it is used
  end
  plugin:newCommand{
    id = "InglenookSprites",
    title = "Inglenook: draw a sprite",
    group = "file_scripts",
    onenabled = function() return app.isUIAvailable end,
    onclick = function()
      open[#open + 1] = Dialogue.open(plugin)
    end,
  }
end

function exit(plugin)
  for _, dialogue in ipairs(open) do
    dialogue:close()
  end
end
