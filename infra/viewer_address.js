// The viewer's address, for the API: whatever the viewer sent under this name is overwritten.
function handler(event) {
  var request = event.request;
  request.headers["x-stcloud-viewer"] = { value: event.viewer.ip };
  return request;
}
