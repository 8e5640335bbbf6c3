// Draws the charts in the colours of the reader's scheme, and again when that changes.
const { specs, dark } = JSON.parse(document.getElementById("data").textContent);
const scheme = window.matchMedia("(prefers-color-scheme: dark)");

function recoloured(value) {
  if (typeof value === "string") return dark[value] ?? value;
  if (Array.isArray(value)) return value.map(recoloured);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, recoloured(inner)]));
}

async function draw() {
  document.documentElement.removeAttribute("data-drawn");
  for (const [id, spec] of Object.entries(specs)) {
    await vegaEmbed(document.getElementById(id), scheme.matches ? recoloured(spec) : spec, {
      actions: false,
      renderer: "svg",
      tooltip: { theme: "boucle", disableDefaultStyle: true },
    });
  }
  document.documentElement.setAttribute("data-drawn", scheme.matches ? "dark" : "light");
}

scheme.addEventListener("change", draw);
draw();
