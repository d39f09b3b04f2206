// API reference of the inference server. Requests cannot be sent from here: the server is not this page's.
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "/v2/docs/dataplane.json",
  supportedSubmitMethods: [],
  validatorUrl: null,
});
