-- SPDX-License-Identifier: Apache-2.0
-- Sprites that are open, with undo: a change is a step of its own, or part of `app.transaction` where it is of the
-- active sprite. A step keeps a copy of the whole document; the documents of the tests are small.

local strict = require("strict")

local documents = { open = {}, active = nil, frame = {}, next_id = 1 }
local running -- the transaction: {document, before, label}

function documents.id()
  documents.next_id = documents.next_id + 1
  return documents.next_id
end

local function copied(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, item in pairs(value) do
    copy[key] = copied(item)
  end
  return copy
end

function documents.make(width, height, mode, palette)
  if width < 1 or height < 1 then
    error("a sprite has at least one pixel")
  end
  local content = { width = width, height = height, mode = mode, transparent = 0, palette = palette, tags = {},
    frames = { { duration = 0.1 } }, layers = { { id = documents.id(), name = "Layer 1", visible = true, cels = {} } },
    selection = {} }
  local document = { id = documents.id(), content = content, steps = {}, filename = "" }
  documents.open[#documents.open + 1] = document
  documents.active = document
  documents.frame[document] = 1
  return document
end

--- The content of a document that is open; closed ones raise as Aseprite's do.
function documents.content(document)
  for _, one in ipairs(documents.open) do
    if one == document then
      return one.content
    end
  end
  error("Using a nil 'Sprite' object")
end

function documents.close(document)
  for index, one in ipairs(documents.open) do
    if one == document then
      table.remove(documents.open, index)
    end
  end
  if documents.active == document then
    documents.active = documents.open[1]
  end
end

--- Before every change of a document.
function documents.changing(document, label)
  local content = documents.content(document)
  if running and running.document == document then
    running.before = running.before or copied(content)
  else
    document.steps[#document.steps + 1] = { before = copied(content), label = label }
  end
end

function documents.transaction(label, act)
  if type(label) == "function" then
    label, act = "Transaction", label
  end
  if type(act) ~= "function" then
    strict.violate("app.transaction wants a function")
  elseif not documents.active then
    error("there is no active document")
  elseif running then
    strict.violate("a transaction inside a transaction")
  end
  running = { document = documents.active, label = label }
  local ok, why = pcall(act)
  local done = running
  running = nil
  if not ok then
    if done.before then
      done.document.content = done.before
    end
    error(why, 0)
  elseif done.before then
    table.insert(done.document.steps, { before = done.before, label = label })
  end
end

function documents.undo(document)
  local step = table.remove(document.steps)
  document.content = step.before
end

return documents
