"use strict";

SwaggerUIBundle({
  url: "/openapi.yaml",
  dom_id: "#api",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  // "Try it out" calls the local functions through this origin.
  requestInterceptor(request) {
    const url = new URL(request.url, location.origin);
    if (url.origin !== location.origin) {
      request.url = `${location.origin}/api${url.pathname}${url.search}`;
    }
    return request;
  },
});
