// Returns each visible text whose contrast with what is behind it is below WCAG's AA.
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function rgba(color) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}
const over = (top, below) => [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * below[i]);
function behind(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
}
function luminance(color) {
  const [r, g, b] = color.map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const faults = [];
for (const element of document.querySelectorAll('body *')) {
  const text = element.value ?? [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join('').trim();
  const visible = element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
  const box = element.getBoundingClientRect();
  if (!text || !visible || element.closest('svg') || box.width < 2 || box.height < 2) continue;
  if (['radio', 'checkbox', 'range', 'file'].includes(element.type) || ['STYLE', 'SCRIPT'].includes(element.tagName)) continue;
  const style = getComputedStyle(element), back = behind(element);
  const [low, high] = [luminance(over(rgba(style.color), back)), luminance(back)].sort((a, b) => a - b);
  const ratio = (high + 0.05) / (low + 0.05);
  if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) faults.push(`${text}: ${ratio.toFixed(2)}`);
}
return faults;
