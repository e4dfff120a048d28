// Paths of the single-page console: /docs is a page of its own, every other path without an extension is the console.
function handler(event) {
  var request = event.request;
  var uri = request.uri;
  if (uri === "/docs" || uri === "/docs/") {
    request.uri = "/docs/index.html";
  } else if (uri.lastIndexOf(".") <= uri.lastIndexOf("/")) {
    request.uri = "/index.html";
  }
  return request;
}
