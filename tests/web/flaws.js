// What is wrong with how the page looks right now, a line each: cut off, beside the screen, or unfinished.
() => {
  const flaws = []
  const width = document.documentElement.clientWidth
  const whole = document.documentElement.scrollWidth
  if (whole > width) flaws.push(`the page is ${whole} wide, the screen ${width}`)
  // Tables scroll in their own boxes; what is for screen readers only is cut off on purpose.
  const apart = ".table-scroll, .unseen, .skip, .segment, .row-actions, svg, pre, select, .u-wrap"
  for (const element of document.querySelectorAll("body *")) {
    if (!element.checkVisibility() || element.closest(apart)) continue
    const box = element.getBoundingClientRect()
    const name = `${element.tagName} ${element.className} "${(element.textContent ?? "").slice(0, 60)}"`
    if (box.width && (box.right > width + 1 || box.left < -1)) flaws.push(`beside the screen: ${name}`)
    const clips = getComputedStyle(element).overflowX !== "visible" && element.clientWidth > 0
    if (clips && element.scrollWidth > element.clientWidth + 1) flaws.push(`cut off: ${name}`)
  }
  for (const table of document.querySelectorAll(".table-scroll")) {
    if (table.checkVisibility() && table.scrollWidth > table.clientWidth + 1) {
      flaws.push(`"${table.ariaLabel}" is ${table.scrollWidth} wide, not ${table.clientWidth}`)
    }
  }
  const unfinished = /undefined|NaN|\[object|\bnull\b|lorem|TODO|Loading|\{\w+\}/
  for (const line of document.querySelector("main").innerText.split("\n")) {
    if (unfinished.test(line)) flaws.push(`unfinished: ${line}`)
  }
  return flaws
}
