import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const page = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  build: {
    // The Content-Security-Policy allows files of our own origin only: nothing may be inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Two pages, one application: a host that looks for /docs/index.html finds it, one that rewrites to / as well.
    rollupOptions: { input: { app: page("index.html"), docs: page("docs/index.html") } },
  },
  server: {
    proxy: { "/api": process.env.STC_API_ORIGIN ?? "http://localhost:8001" },
  },
  test: {
    environment: "node",
    include: ["src/**/*.test.{ts,tsx}"],
  },
});
