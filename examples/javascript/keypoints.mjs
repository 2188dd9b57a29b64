// Keypoints from an exported model, in node and in browsers; `ort` is onnxruntime-web.

/** Keypoints of `image`, {height, width, data}, where data is a Uint8Array of RGB, row by row, or of the channels of
 *  the model: `toGray(image)` for one that was trained with data.channels=1.
 *  A model trained on crops also takes `box`, [left, top, right, bottom] in pixels. One that finds subjects takes none,
 *  and returns a list of them, the likeliest first: {score, box, keypoints}. */
export async function predict(ort, session, image, box) {
  const { height, width, data } = image;
  const feeds = { images: new ort.Tensor("uint8", data, [1, height, width, data.length / (height * width)]) };
  const finds = session.outputNames.includes("scores");
  if (finds && box) throw new Error("the model finds the subjects itself and takes no box; export it with finder=false for one that does");
  if (box) feeds.boxes = new ort.Tensor("float32", Float32Array.from(box), [1, 4]);
  const { keypoints, confidence, covariance, scores, boxes } = await session.run(feeds); // (n, K, 2), (n, K), (n, K, 2, 2)
  const points = Array.from(confidence.data, (value, k) => ({
    x: keypoints.data[2 * k], // in pixels of the image; an integer is the center of a pixel
    y: keypoints.data[2 * k + 1],
    confidence: value,
    covariance: Array.from(covariance.data.subarray(4 * k, 4 * k + 4)), // xx, xy, yx, yy in px^2
  }));
  if (!finds) return points;
  const K = confidence.dims[1];
  return Array.from(scores.data, (score, i) => ({
    score, // probability that it is a subject
    box: Array.from(boxes.data.subarray(4 * i, 4 * i + 4)),
    keypoints: points.slice(K * i, K * i + K),
  }));
}

/** The ellipses about the points of `predict` that hold them with probability `level`, by `metadata`, the content of
 *  MODEL.onnx.json: half axes in pixels and the angle of the long one from x to y in degrees; null where there is none. */
export function regions(points, metadata, level = 0.9) {
  const radii = (metadata.regions ?? []).find((entry) => entry.level === level)?.radius ?? {};
  return points.map(({ covariance: [xx, xy, , yy] }, k) => {
    const radius = radii[metadata.keypoints[k]];
    if (radius == null) return null;
    const mean = (xx + yy) / 2;
    const half = Math.hypot((xx - yy) / 2, xy);
    const [long, short] = [mean + half, mean - half].map((variance) => radius * Math.sqrt(Math.max(0, variance)));
    return { long, short, angle: ((Math.atan2(2 * xy, xx - yy) * 90) / Math.PI + 180) % 180 };
  });
}

/** The gray levels of an RGB image by their luma, as softpoint rounds it. */
export function toGray({ height, width, data }) {
  const luma = (_, i) => (9798 * data[3 * i] + 19235 * data[3 * i + 1] + 3735 * data[3 * i + 2] + 16384) >> 15;
  return { height, width, data: Uint8Array.from({ length: height * width }, luma) };
}

/** The image that a canvas shows: `fromRgba(context.getImageData(0, 0, canvas.width, canvas.height))`. */
export function fromRgba({ height, width, data }) {
  return { height, width, data: Uint8Array.from({ length: 3 * height * width }, (_, i) => data[i + Math.floor(i / 3)]) };
}
