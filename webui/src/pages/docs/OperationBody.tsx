import type { ComponentChildren } from "preact";
import { t } from "../../i18n";
import { CopyButton } from "../../ui/CopyButton";
import {
  contentOf,
  curl,
  type Description,
  limitWords,
  objectsIn,
  type Parameter,
  type Route,
  type Schema,
  typeWords,
} from "./description";
import { Prose } from "./Prose";

interface Props {
  description: Description;
  route: Route;
}

/** What one route takes and answers, and how to call it. */
export function OperationBody({ description, route }: Props) {
  const { operation } = route;
  const command = curl(description, route, location.origin);
  const body = contentOf(operation.requestBody);
  return (
    <div class="operation-body">
      {operation.description && (
        <p class="lead" lang="en">
          <Prose text={operation.description} />
        </p>
      )}
      <p class="meta">
        {operation["x-permission"]
          ? t("docs.permission", { name: operation["x-permission"] })
          : t("docs.public")}
      </p>
      <div class="command">
        <code class="command-lines">{command}</code>
        <CopyButton text={command} what="curl" />
      </div>
      {(operation.parameters?.length ?? 0) > 0 && (
        <Part title={t("docs.parameters")}>
          <Parameters description={description} parameters={operation.parameters ?? []} />
        </Part>
      )}
      {body && (
        <Part title={t("docs.body")} note={body.media}>
          <Fields description={description} schema={body.schema} seen={[]} />
        </Part>
      )}
      <Part title={t("docs.answers")}>
        <ul class="answers">
          {Object.entries(operation.responses).map(([status, answer]) => {
            const content = contentOf(answer);
            return (
              <li key={status}>
                <details>
                  <summary>
                    <code class={Number(status) < 400 ? "answer-good" : "answer-bad"}>{status}</code>{" "}
                    <span lang="en">{answer.description}</span>
                    {content && <span class="meta"> {content.media}</span>}
                  </summary>
                  {content && <Fields description={description} schema={content.schema} seen={[]} />}
                </details>
              </li>
            );
          })}
        </ul>
      </Part>
    </div>
  );
}

function Part({ title, note, children }: { title: string; note?: string; children: ComponentChildren }) {
  return (
    <div class="operation-part">
      <h3>
        {title} {note && <span class="meta">{note}</span>}
      </h3>
      {children}
    </div>
  );
}

function Parameters({ description, parameters }: { description: Description; parameters: Parameter[] }) {
  return (
    <dl class="fields">
      {parameters.map((parameter) => (
        <Field
          key={parameter.name}
          description={description}
          name={parameter.name}
          schema={parameter.schema}
          required={parameter.required ?? false}
          note={parameter.in}
          seen={[]}
        />
      ))}
    </dl>
  );
}

/** The fields of every object a schema leads to. `seen` ends endless types. */
function Fields(props: { description: Description; schema: Schema; seen: string[] }) {
  const { description, schema, seen } = props;
  const objects = objectsIn(description, schema).filter(({ name }) => !seen.includes(name));
  if (objects.length === 0) return <code class="meta">{typeWords(description, schema)}</code>;
  return (
    <>
      {objects.map(({ name, schema: object }) => (
        <dl key={name} class="fields">
          {Object.entries(object.properties ?? {}).map(([field, definition]) => (
            <Field
              key={field}
              description={description}
              name={field}
              schema={definition}
              required={object.required?.includes(field) ?? false}
              seen={[...seen, name]}
            />
          ))}
        </dl>
      ))}
    </>
  );
}

interface FieldProps {
  description: Description;
  name: string;
  schema: Schema;
  required: boolean;
  note?: string;
  seen: string[];
}

function Field({ description, name, schema, required, note, seen }: FieldProps) {
  const limits = limitWords(schema);
  const inside = objectsIn(description, schema).filter((object) => !seen.includes(object.name));
  return (
    <div class="field">
      <dt>
        <code>{name}</code>
      </dt>
      <dd lang="en">
        <code class="field-type">{typeWords(description, schema)}</code>
        <span class="meta">{[note, required && "required", limits].filter(Boolean).join(" · ")}</span>
        {schema.description && (
          <p>
            <Prose text={schema.description} />
          </p>
        )}
        {inside.length > 0 && (
          <details>
            <summary>{inside.map((object) => object.name).join(", ")}</summary>
            <Fields description={description} schema={schema} seen={seen} />
          </details>
        )}
      </dd>
    </div>
  );
}
