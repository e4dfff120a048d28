import "../src/styles/index.css";
import "swagger-ui-dist/swagger-ui.css";
import "./docs.css";
import { effect } from "@preact/signals";
import { render } from "preact";
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import { preferredLanguage, setLanguage, t } from "../src/i18n";
import { theme } from "../src/preferences";
import { Page } from "../src/ui/Page";
import { Shell } from "../src/ui/Shell";

const DESCRIPTION = "/api/openapi.json";

function Docs() {
  return (
    <Shell path="/docs">
      <Page title={[t("docs.title")]} heading={t("docs.title")}>
        <p class="lead">
          {t("docs.lead")} <a href={DESCRIPTION}>{DESCRIPTION}</a>
        </p>
        <div id="reference" lang="en" />
      </Page>
    </Shell>
  );
}

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
});
