import "../src/styles/index.css";
import "swagger-ui-dist/swagger-ui.css";
import "./docs.css";
import { effect } from "@preact/signals";
import { render } from "preact";
import SwaggerUI, { type SwaggerUIPlugin } from "swagger-ui-dist/swagger-ui-es-bundle.js";
import { preferredLanguage, setLanguage, t } from "../src/i18n";
import { theme } from "../src/preferences";
import { Page } from "../src/ui/Page";
import { Shell } from "../src/ui/Shell";

const DESCRIPTION = "/api/openapi.json";

function Docs() {
  return (
    <Shell path="/docs">
      <Page as="section" title={[t("docs.title")]} heading={t("docs.title")}>
        <p class="lead">
          {t("docs.lead")} <a href={DESCRIPTION}>{DESCRIPTION}</a>
        </p>
      </Page>
      <h2 class="visually-hidden">{t("docs.routes")}</h2>
      <div id="reference" lang="en" />
    </Shell>
  );
}

/**
 * The viewer puts links into its buttons, which assistive technology can't reach: plain text instead.
 * https://github.com/swagger-api/swagger-ui/issues/10704
 */
const plainTitles: SwaggerUIPlugin = ({ React }) => ({
  components: { DeepLink: ({ text }) => React.createElement("span", null, text) },
});

/** The viewer has a dark mode of its own, switched by a class; ours is the reader's choice or the system's. */
function followTheme(): void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const dark = theme.value === "dark" || (theme.value === "system" && system.matches);
    document.documentElement.classList.toggle("dark-mode", dark);
  };
  effect(apply);
  system.addEventListener("change", apply);
}

const root = document.getElementById("app");
if (!root) throw new Error("docs/index.html has no #app");
await setLanguage(preferredLanguage()).catch(() => undefined);
render(<Docs />, root);
followTheme();
SwaggerUI({
  url: DESCRIPTION,
  domNode: document.getElementById("reference"),
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  // Off: it would send the description to validator.swagger.io.
  validatorUrl: null,
  deepLinking: true,
  plugins: [plainTitles],
});
