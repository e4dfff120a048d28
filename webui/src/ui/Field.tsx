import { useEffect, useId, useRef } from "preact/hooks";

interface FieldProps {
  name: string;
  label: string;
  type: "text" | "email" | "password";
  autocomplete: string;
  hint?: string;
  defaultValue?: string;
  /** Shows the digits on a phone's keyboard. */
  digits?: boolean;
  /** Takes the focus when it appears. */
  first?: boolean;
  /** The id of the text that says what is wrong with it. */
  wrong?: string | undefined;
}

/** One labelled input of a form, in the form's data under its name. */
export function Field(props: FieldProps) {
  const { name, label, type, autocomplete, hint, defaultValue = "", digits, first = false, wrong } = props;
  const id = useId();
  const help = useId();
  const element = useRef<HTMLInputElement>(null);
  useEffect(() => {
    // After the page or the dialog around it has taken the focus for itself.
    if (first) element.current?.focus();
  }, [first]);
  return (
    <div class="signin-field">
      <label for={id}>{label}</label>
      <input
        ref={element}
        id={id}
        name={name}
        // Preact's types want one input's type to be known.
        type={type as "text"}
        autocomplete={autocomplete}
        {...(digits && { inputMode: "numeric" })}
        defaultValue={defaultValue}
        spellcheck={false}
        autocapitalize="none"
        aria-invalid={wrong !== undefined}
        aria-describedby={[hint && help, wrong].filter(Boolean).join(" ") || undefined}
        required
      />
      {hint && (
        <p id={help} class="hint">
          {hint}
        </p>
      )}
    </div>
  );
}
