declare module "swagger-ui-dist/swagger-ui-es-bundle.js" {
  /** https://swagger.io/docs/open-source-tools/swagger-ui/usage/configuration/ */
  interface SwaggerUIOptions {
    url: string;
    domNode: Element | null;
    docExpansion: "list" | "full" | "none";
    defaultModelsExpandDepth: number;
    validatorUrl: string | null;
    deepLinking: boolean;
    plugins: SwaggerUIPlugin[];
  }
  /** https://swagger.io/docs/open-source-tools/swagger-ui/customization/plugin-api/ */
  export type SwaggerUIPlugin = (system: {
    React: { createElement: (type: string, props: null, ...children: unknown[]) => unknown };
  }) => { components: Record<string, (props: { text?: unknown }) => unknown> };
  export default function SwaggerUI(options: SwaggerUIOptions): unknown;
}
