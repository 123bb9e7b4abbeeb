const font = { fontFamily: "system-ui, sans-serif" };

Redoc.init(
  "openapi.json",
  { theme: { typography: { ...font, headings: font } } },
  document.getElementById("redoc"),
);
