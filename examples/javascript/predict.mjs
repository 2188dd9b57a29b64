// Prints the keypoints of one image, or of each subject that the model finds in it, as JSON: node predict.mjs MODEL.onnx IMAGE [LEFT,TOP,RIGHT,BOTTOM]
import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-web";
import { predict, regions, toGray } from "./keypoints.mjs";

process.on("uncaughtException", (error) => {
  console.error(error.message);
  process.exit(1);
});

/** The pixels of a binary PPM of 8 bits: "P6 WIDTH HEIGHT 255", one white space, RGB. */
async function readPpm(bytes) {
  const head = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString("latin1", 0, 64));
  const [width, height] = head ? [Number(head[1]), Number(head[2])] : [0, 0];
  const end = head ? head[0].length + 3 * width * height : 0;
  if (!head || bytes.length < end) throw new Error("not a complete binary PPM of 8 bits");
  return { height, width, data: new Uint8Array(bytes.subarray(head[0].length, end)) };
}

/** The pixels of a PNG, JPEG, WebP or the like, upright by its EXIF orientation and without transparency. */
async function decode(bytes) {
  const { default: sharp } = await import("sharp");
  const rgb = sharp(bytes).autoOrient().toColorspace("srgb").removeAlpha().raw();
  const { data, info } = await rgb.toBuffer({ resolveWithObject: true });
  return { height: info.height, width: info.width, data: new Uint8Array(data) };
}

const [model, file, box] = process.argv.slice(2);
if (!file) throw new Error("usage: node predict.mjs MODEL.onnx IMAGE [LEFT,TOP,RIGHT,BOTTOM]");
const bytes = await readFile(file);
const read = bytes.toString("latin1", 0, 2) === "P6" ? readPpm : decode;
const image = await read(bytes).catch((error) => {
  throw new Error(`${file}: ${error.message}`);
});
ort.env.wasm.numThreads = 1; // its threads would keep node from ending
const metadata = JSON.parse(await readFile(`${model}.json`, "utf8")); // written beside the model
const { channels = 3 } = metadata;
if (channels !== 3 && channels !== 1) throw new Error(`the model reads channels ${channels}, and this example RGB and gray alone`);
const session = await ort.InferenceSession.create(await readFile(model), { executionProviders: ["wasm"], logSeverityLevel: 3 });
const result = await predict(ort, session, channels === 1 ? toGray(image) : image, box?.split(",").map(Number));

function named(points) {
  const ellipses = regions(points, metadata); // of 90 %
  return points.map((point, k) => ({ name: metadata.keypoints[k], ...point, region: ellipses[k] }));
}
const subjects = () => result.map((subject) => ({ ...subject, keypoints: named(subject.keypoints) }));
console.log(JSON.stringify(metadata.finder ? subjects() : named(result), null, 1));
