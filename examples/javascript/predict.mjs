// Prints the keypoints of one image as JSON: node predict.mjs MODEL.onnx IMAGE.ppm [LEFT,TOP,RIGHT,BOTTOM]
import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-web";
import { predict } from "./keypoints.mjs";

/** The pixels of a binary PPM of 8 bits: "P6 WIDTH HEIGHT 255", one white space, RGB. */
function readPpm(bytes) {
  const head = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString("latin1", 0, 64));
  const [width, height] = head ? [Number(head[1]), Number(head[2])] : [0, 0];
  const end = head ? head[0].length + 3 * width * height : 0;
  if (!head || bytes.length < end) throw new Error("the image is not a complete binary PPM of 8 bits");
  return { height, width, data: new Uint8Array(bytes.subarray(head[0].length, end)) };
}

const [model, file, box] = process.argv.slice(2);
if (!file) throw new Error("usage: node predict.mjs MODEL.onnx IMAGE.ppm [LEFT,TOP,RIGHT,BOTTOM]");
const image = readPpm(await readFile(file));
ort.env.wasm.numThreads = 1; // its threads would keep node from ending
const session = await ort.InferenceSession.create(await readFile(model), { executionProviders: ["wasm"] });
const { keypoints: names } = JSON.parse(await readFile(`${model}.json`, "utf8")); // written beside the model
const points = await predict(ort, session, image, box?.split(",").map(Number));
console.log(JSON.stringify(points.map((point, k) => ({ name: names[k], ...point })), null, 1));
