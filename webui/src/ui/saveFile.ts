/** Hands text to the browser as a file to keep. */
export function saveFile(name: string, parts: string[], type: string): void {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // Revoking at once would race the browser's reading of it.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
