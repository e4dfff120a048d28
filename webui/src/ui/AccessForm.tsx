import { useEffect, useId, useRef } from "preact/hooks";
import { access, setAccessToken } from "../api/client";
import { t } from "../i18n";

/** Shown over the page when the API answers 401. What was on the page stays. */
export function AccessForm() {
  const input = useRef<HTMLInputElement>(null);
  const field = useId();
  const help = useId();
  const wrong = useId();
  const needed = access.needed.value;
  useEffect(() => {
    // Only when nobody is somewhere else on the page.
    if (needed && document.activeElement === document.body) input.current?.focus();
  }, [needed]);
  if (!needed) return null;
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const token = input.current?.value.trim();
    if (token) setAccessToken(token);
  };
  return (
    <section class="access" aria-label={t("access.title")}>
      <form onSubmit={submit}>
        <h2>{t("access.title")}</h2>
        <p id={help}>{t("access.help")}</p>
        <p id={wrong} class={access.rejected.value ? "field-error" : undefined} role="alert">
          {access.rejected.value && t("access.wrong")}
        </p>
        <label for={field}>{t("access.label")}</label>
        <div class="access-row">
          <input
            ref={input}
            id={field}
            type="password"
            autocomplete="off"
            spellcheck={false}
            aria-describedby={`${help} ${wrong}`}
            aria-invalid={access.rejected.value}
            required
          />
          <button type="submit" class="button button-primary">
            {t("access.use")}
          </button>
        </div>
      </form>
    </section>
  );
}
