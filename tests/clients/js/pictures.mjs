// SPDX-License-Identifier: Apache-2.0
// OpenAI's JavaScript SDK against a server of ours. Prints one JSON object; the test in Python looks at it.
//   node pictures.mjs BASE_URL PICTURE_FILE MASK_FILE

import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const [baseURL, pictureFile, maskFile] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, timeout: 120_000 });
const picture = (name) => toFile(fs.createReadStream(name), name.split("/").pop(), { type: "image/png" });

const models = [];
for await (const model of client.models.list()) models.push(model.id);

const generated = await client.images.generate({
  model: "auto", prompt: "a red fox", n: 2, size: "64x64", quality: "low", moderation: "low",
  background: "transparent", output_format: "png", seed: 7,
});

const streamed = [];
const stream = await client.images.generate({
  prompt: "a blue cat", size: "64x64", stream: true, partial_images: 2,
});
for await (const event of stream) streamed.push({ type: event.type, bytes: event.b64_json?.length ?? 0 });

const edited = await client.images.edit({
  image: await picture(pictureFile), mask: await picture(maskFile), prompt: "a green hat", size: "64x64",
});

let several;
try {
  await client.images.edit({
    image: [await picture(pictureFile), await picture(pictureFile)], prompt: "both", size: "64x64",
  });
} catch (error) {
  several = { kind: error.constructor.name, status: error.status, param: error.param, message: error.message };
}

let unknown;
try {
  await client.images.generate({ model: "nobody", prompt: "a fox" });
} catch (error) {
  unknown = { kind: error.constructor.name, status: error.status, code: error.code };
}

const controller = new AbortController();
const abandoned = client.images
  .generate({ prompt: "abandoned in JavaScript", n: 8, steps: 150 }, { signal: controller.signal })
  .then(() => "finished", (error) => error.constructor.name);
setTimeout(() => controller.abort(), 500);

console.log(JSON.stringify({
  models,
  generated: generated.data.map(({ b64_json, seed, width }) => ({ bytes: b64_json.length, seed, width })),
  background: generated.background,
  streamed,
  edited: edited.data.length,
  several,
  unknown,
  abandoned: await abandoned,
}));
