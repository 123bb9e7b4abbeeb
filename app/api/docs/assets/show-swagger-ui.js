SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  // The models, listed below the operations, stay folded: there are two for each job kind.
  defaultModelsExpandDepth: 0,
});
